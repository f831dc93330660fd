//! What allowed a request allows its retry only as long as it holds (GW-72).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::{Clock, Decision, Effect, Reason};
use testkit::{FakePdp, SimClock};

use super::support::{Running, Scripted, VISITOR, ok, request, wiki_apps};
use crate::core::world::World;

const HOLDS: Duration = Duration::from_secs(10);

/// A door whose app hangs up on the second request, `late` after it was let in; when asked again after [`HOLDS`], the
/// policies say `then`. Gives the answer and how often the app was asked for the second page.
async fn retried(late: Duration, then: Effect) -> (String, usize) {
    let clock: Arc<OnceLock<Arc<SimClock>>> = Arc::default();
    let of_app = Arc::clone(&clock);
    let mut app = Scripted::new(move |asked| {
        if asked.connection > 0 || asked.line().starts_with("GET /1 ") {
            return Some(ok(b"fine"));
        }
        of_app.get().unwrap().advance(late);
        None
    })
    .await;
    let began = OnceLock::new();
    let world = World::with(wiki_apps(&[app.address]), |_| {
        FakePdp::new(move |_, now| {
            let began = *began.get_or_init(|| now);
            let effect = if now < began + HOLDS { Effect::Allow } else { then };
            let reason = if effect == Effect::Allow { Reason::Allow } else { Reason::NotPermitted };
            Decision { hold_until: began + HOLDS, ..testkit::decision(effect, reason, now) }
        })
    });
    assert!(clock.set(Arc::clone(&world.clock)).is_ok());
    let door = Running::over(world, |_| ()).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    assert_eq!(client.get("/1", &cookie).await.status, 200);
    client.send(request("GET", "/2", &cookie, "Connection: close\r\n")).await;
    let (answer, _) = client.rest().await;
    let asked = app.so_far().iter().filter(|asked| asked.line().starts_with("GET /2 ")).count();
    assert!(door.world.clock.now() >= began_at(&door) + late);
    (String::from_utf8(answer).unwrap(), asked)
}

fn began_at(door: &Running) -> model::Timestamp {
    door.world.recorder.records()[0].time
}

#[tokio::test]
async fn a_retry_after_the_answer_ran_out_is_judged_again_and_not_sent_when_it_is_no() {
    let (answer, asked) = retried(HOLDS, Effect::Deny).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(asked, 1, "{answer}");
}

#[tokio::test]
async fn a_retry_goes_on_while_the_answer_holds_or_is_given_again() {
    for (late, then) in [(HOLDS - Duration::from_secs(1), Effect::Deny), (HOLDS, Effect::Allow)] {
        let (answer, asked) = retried(late, then).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{late:?}: {answer}");
        assert_eq!(asked, 2, "{late:?}");
    }
}

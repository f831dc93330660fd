//! Pictures drawn here, as SVG without a style attribute or a script: bars of one kind, and bars in stacks over time
//! (UI-40). Every picture has a title, a description and the same numbers as a table; patterns speak beside colour.
//!
//! Invariants: a gap is drawn as a gap and is not nought; bars begin at nought; equal input gives equal bytes; whatever a
//! label says is escaped by the template.

use crate::views::Moment;

/// The most bars of a picture; more are left out of it, never of the numbers.
pub const MAX_BARS: usize = 200;
/// How long a label beside a bar is at most.
const LABEL_CHARS: usize = 30;

const WIDTH: u64 = 720;
const LEFT: u64 = 48;
const TOP: u64 = 12;
const PLOT_WIDTH: u64 = WIDTH - LEFT - 8;
const PLOT_HEIGHT: u64 = 150;
const BASE: u64 = TOP + PLOT_HEIGHT;
/// Between bars one below the other.
const ROW: u64 = 26;
/// Where horizontal bars begin, behind their labels.
const LABELS: u64 = 240;

/// One span of time: let through, asked for more proof, refused; `None` where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub begins: Moment,
    /// Short, for the axis.
    pub label: String,
    /// Let through, asked for more proof, refused.
    pub counts: Option<[u64; 3]>,
    /// The same records.
    pub url: String,
}

/// One bar with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCount {
    /// What.
    pub name: String,
    /// In a sentence.
    pub sentence: String,
    /// How many.
    pub count: u64,
    /// The same records.
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) class: &'static str,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

/// A picture, laid out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Drawing {
    pub(super) height: u64,
    pub(super) rects: Vec<Rect>,
    /// Where lines across stand.
    pub(super) lines: Vec<u64>,
    pub(super) labels: Vec<Label>,
}

/// Decisions over time, in stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stacks {
    /// Distinguishes pictures of one page.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// The range with its zone.
    pub range: String,
    /// Oldest first.
    pub spans: Vec<Span>,
    pub(super) drawing: Drawing,
}

/// Counts, one bar below the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bars {
    /// Distinguishes pictures of one page.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// The range with its zone.
    pub range: String,
    /// Most first.
    pub bars: Vec<NamedCount>,
    pub(super) drawing: Drawing,
}

/// The series of a stack, from the bottom up.
const SERIES: [&str; 3] = ["allow", "step", "deny"];

impl Stacks {
    /// Lays the picture out.
    pub fn new(id: &'static str, title: &str, range: String, spans: Vec<Span>) -> Self {
        let drawing = stacks(&spans);
        Self { id, title: title.to_owned(), range, spans, drawing }
    }

    /// What somebody who does not see it is told.
    pub fn description(&self) -> String {
        let known = self.spans.iter().filter_map(|span| span.counts);
        let [allow, step, deny] = known
            .fold([0_u64; 3], |[a, s, d], [x, y, z]| [a.saturating_add(x), s.saturating_add(y), d.saturating_add(z)]);
        let gaps = self.spans.iter().filter(|span| span.counts.is_none()).count();
        let gaps = if gaps == 0 { String::new() } else { format!(" Of {gaps} spans nothing is known.") };
        format!("{}: {allow} let through, {step} asked for more proof, {deny} refused.{gaps}", self.range)
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.spans.iter().any(|span| span.counts.is_none())
    }
}

impl Bars {
    /// Lays the picture out.
    pub fn new(id: &'static str, title: &str, range: String, bars: Vec<NamedCount>) -> Self {
        let drawing = rows(&bars);
        Self { id, title: title.to_owned(), range, bars, drawing }
    }

    /// What somebody who does not see it is told.
    pub fn description(&self) -> String {
        let all: Vec<String> = self.bars.iter().map(|bar| format!("{} {} times", bar.name, bar.count)).collect();
        format!("{}: {}.", self.range, if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
    }
}

fn stacks(spans: &[Span]) -> Drawing {
    let drawn = spans.get(spans.len().saturating_sub(MAX_BARS)..).unwrap_or_default();
    let total = |counts: [u64; 3]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let top = ceiling(drawn.iter().filter_map(|span| span.counts).map(total).max().unwrap_or_default());
    let slots = u64::try_from(drawn.len()).unwrap_or(1).max(1);
    let mut drawing =
        Drawing { height: BASE + 26, lines: vec![TOP, TOP + PLOT_HEIGHT / 2, BASE], ..Drawing::default() };
    for (at, span) in (0_u64..).zip(drawn) {
        let (from, to) = (LEFT + at * PLOT_WIDTH / slots, LEFT + (at + 1) * PLOT_WIDTH / slots);
        let (x, width) = (from + 1, (to - from).saturating_sub(2).max(1));
        let Some(counts) = span.counts else {
            drawing.rects.push(Rect { class: "gap", x: from, y: TOP, width: to - from, height: PLOT_HEIGHT });
            continue;
        };
        let mut y = BASE;
        for (class, count) in SERIES.into_iter().zip(counts) {
            let height = scaled(count, top, PLOT_HEIGHT).min(y - TOP);
            y -= height;
            if height > 0 {
                drawing.rects.push(Rect { class, x, y, width, height });
            }
        }
    }
    let axis = |y, value: u64| Label { x: LEFT - 8, y: y + 4, anchor: "end", text: value.to_string() };
    drawing.labels.extend([axis(TOP, top), axis(BASE, 0)]);
    if top.is_multiple_of(2) {
        drawing.labels.push(axis(TOP + PLOT_HEIGHT / 2, top / 2));
    }
    let times = [(0, LEFT, "start"), (drawn.len() / 2, LEFT + PLOT_WIDTH / 2, "middle")];
    let under = |(at, x, anchor): (usize, u64, &'static str)| {
        drawn.get(at).map(|span| Label { x, y: BASE + 20, anchor, text: cut(&span.label) })
    };
    drawing.labels.extend(times.into_iter().filter_map(under));
    drawing.labels.extend(under((drawn.len().saturating_sub(1), LEFT + PLOT_WIDTH, "end")));
    drawing
}

fn rows(bars: &[NamedCount]) -> Drawing {
    let drawn = bars.get(..bars.len().min(MAX_BARS)).unwrap_or_default();
    let most = drawn.iter().map(|bar| bar.count).max().unwrap_or_default().max(1);
    let room = WIDTH - LABELS - 70;
    let mut drawing = Drawing { height: 8, ..Drawing::default() };
    for bar in drawn {
        let y = drawing.height;
        let width = scaled(bar.count, most, room);
        drawing.labels.push(Label { x: LABELS - 10, y: y + 15, anchor: "end", text: cut(&bar.name) });
        drawing.rects.push(Rect { class: "deny", x: LABELS, y, width, height: ROW - 6 });
        let text = bar.count.to_string();
        drawing.labels.push(Label { x: LABELS + width + 8, y: y + 15, anchor: "start", text });
        drawing.height += ROW;
    }
    drawing
}

/// `count` of `top` on `room`: nothing for nought, at least a hair for one.
fn scaled(count: u64, top: u64, room: u64) -> u64 {
    let length = u128::from(count) * u128::from(room) / u128::from(top.max(1));
    u64::try_from(length).unwrap_or(room).clamp(u64::from(count > 0), room)
}

/// The next of 1, 2, 5, 10, 20, 50, … that holds `most`.
fn ceiling(most: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for step in [1, 2, 5] {
            match unit.checked_mul(step) {
                Some(value) if value >= most => return value,
                Some(_) => {}
                None => return most,
            }
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return most,
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().nth(LABEL_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(LABEL_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use askama::Template;

    #[derive(Template)]
    #[template(source = "{% include \"console_stacks.html\" %}", ext = "html")]
    struct StacksAlone {
        stacks: Stacks,
    }

    #[derive(Template)]
    #[template(source = "{% include \"console_bars.html\" %}", ext = "html")]
    struct BarsAlone {
        bars: Bars,
    }

    fn span(hour: u64, counts: Option<[u64; 3]>) -> Span {
        Span {
            begins: (format!("2026-11-22T{hour:02}:00:00.000Z"), format!("22 Nov 2026, {hour:02}:00 UTC")),
            label: format!("{hour:02}:00"),
            counts,
            url: format!("/console/access?since=2026-11-22T{hour:02}"),
        }
    }

    fn stacks(spans: Vec<Span>) -> Stacks {
        Stacks::new("answers", "Answers by the hour", "22 Nov, 00:00 to 04:00 UTC".to_owned(), spans)
    }

    fn bar(name: &str, count: u64) -> NamedCount {
        NamedCount { name: name.to_owned(), sentence: "A sentence.".to_owned(), count, url: "/console".to_owned() }
    }

    #[test]
    fn the_pictures_are_as_they_were() {
        let spans = vec![span(0, None), span(1, Some([0, 0, 0])), span(2, Some([30, 1, 9])), span(3, Some([1, 0, 0]))];
        insta::assert_snapshot!("stacks", StacksAlone { stacks: stacks(spans) }.render().unwrap());
        let bars = vec![bar("deny.no_session", 12), bar("deny.default", 1)];
        let bars = Bars::new("reasons", "Refused most", "22 Nov, 00:00 to 04:00 UTC".to_owned(), bars);
        insta::assert_snapshot!("bars", BarsAlone { bars }.render().unwrap());
    }

    #[test]
    fn a_gap_is_not_nought_and_nought_is_no_bar() {
        let drawing = stacks(vec![span(0, None), span(1, Some([0, 0, 0])), span(2, Some([0, 0, 1]))]).drawing;
        let classes: Vec<&str> = drawing.rects.iter().map(|rect| rect.class).collect();
        assert_eq!(classes, ["gap", "deny"]);
    }

    #[test]
    fn no_number_leaves_the_picture() {
        let most = [u64::MAX; 3];
        for counts in [[0; 3], [1, 0, 0], [u64::MAX, 0, 1], most] {
            let many = vec![span(0, Some(counts)); 3 * MAX_BARS];
            for drawing in [stacks(many).drawing, stacks(vec![span(0, Some(counts))]).drawing] {
                for rect in &drawing.rects {
                    assert!(rect.x >= LEFT && rect.x + rect.width <= WIDTH, "{rect:?}");
                    assert!(rect.y >= TOP && rect.y + rect.height <= BASE, "{rect:?}");
                }
                assert!(drawing.rects.len() <= 3 * MAX_BARS);
            }
            let bars = Bars::new("b", "", String::new(), vec![bar("x", counts[0]); 2 * MAX_BARS]);
            assert!(bars.drawing.rects.iter().all(|rect| rect.x + rect.width <= WIDTH));
        }
        assert_eq!((ceiling(0), ceiling(3), ceiling(40), ceiling(u64::MAX)), (1, 5, 50, u64::MAX));
    }

    #[test]
    fn stored_script_in_a_label_stays_text_inside_the_picture() {
        const ATTACK: &str = "</title></desc></svg><script>alert(1)</script>]]>\"'";
        let mut attack = span(0, Some([1, 1, 1]));
        (attack.label, attack.url) = (ATTACK.to_owned(), ATTACK.to_owned());
        attack.begins = (ATTACK.to_owned(), ATTACK.to_owned());
        let drawn = Stacks::new("a", ATTACK, ATTACK.to_owned(), vec![attack]);
        let drawn = StacksAlone { stacks: drawn }.render().unwrap();
        let bars = Bars::new("b", ATTACK, ATTACK.to_owned(), vec![bar(ATTACK, 1)]);
        for html in [drawn, BarsAlone { bars }.render().unwrap()] {
            assert_eq!(html.matches("</svg>").count(), 1, "{html}");
            assert_eq!((html.matches("</title>").count(), html.matches("</desc>").count()), (1, 1), "{html}");
            assert!(!html.contains("<script") && !html.contains("]]>") && !html.contains("style="), "{html}");
        }
    }
}

//! The wire forms of the messages themselves.

use std::net::SocketAddr;

use crate::message::{
    Ack, Ask, ConfigSource, Delta, Down, Event, Hello, Order, Part, Position, Purpose, Reply, Services, SourceText,
    Terms, Up, Welcome, WireRequest, WireResponse,
};

use super::{Message, Reader, Wire, WireError, fields};
use crate::frame::Lane;

fields!(Position { lineage, facts, events });
fields!(SourceText { name, text });
fields!(ConfigSource { number, files, terms, policy_hash });
fields!(Terms { time_zone, fresh_secs });
fields!(Delta { version, config, directory_version, users, gone, groups, services });
fields!(Services { accounts, tokens });
fields!(Order { revocation, scope, cause, after });
fields!(Welcome { auth_url, auth_host, public_port, ticket_key });
fields!(WireResponse { status, headers, body });
fields!(WireRequest {
    method,
    target,
    host,
    authority,
    headers,
    body,
    access,
    decision,
    trace_id,
    session,
    login_binding,
    client,
});
fields!(Hello { protocol, software, purpose });
fields!(Ack { facts, events });

impl Message for Down {
    fn lane(&self) -> Lane {
        Down::lane(self)
    }
}

impl Message for Up {
    fn lane(&self) -> Lane {
        Up::lane(self)
    }
}

/// An enum whose variants have contents: a byte, then the contents.
macro_rules! variants {
    ($name:ty, $what:literal, { $($tag:literal => $variant:ident $(($inner:ident))? $({ $($field:ident),* })?,)* }) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($inner))? $({ $($field),* })? => {
                        out.push($tag);
                        $($inner.put(out);)?
                        $($($field.put(out);)*)?
                    })*
                }
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                match u8::take(from)? {
                    $($tag => {
                        $(let $inner = Wire::take(from)?;)?
                        $($(let $field = Wire::take(from)?;)*)?
                        Ok(Self::$variant $(($inner))? $({ $($field),* })?)
                    })*
                    _ => Err(WireError::Value($what)),
                }
            }
        }
    };
}

variants!(Part, "a piece of a snapshot", {
    0 => Config(config),
    1 => Dead(dead),
    2 => Epochs { global, users },
    3 => Groups(groups),
    4 => Sessions(sessions),
    5 => Users(users),
    6 => Services(services),
});
variants!(Event, "an event", {
    0 => Change(change),
    1 => Order(order),
});
variants!(Reply, "an answer", {
    0 => Certificate { chain_pem, ca_pem },
    1 => Response(response),
    2 => Session(session),
    3 => Refused(words),
});
variants!(Ask, "a question", {
    0 => Call(request),
    1 => LookUp { token, host },
    2 => Park { key, target },
    3 => Renew { proof },
});
variants!(Purpose, "a purpose", {
    0 => Join { token },
    1 => Subscribe { have, keys },
});
variants!(Down, "a message", {
    0 => Beat { facts, events },
    1 => Begin { position, directory_version },
    2 => Delta(delta),
    3 => End,
    4 => Event { seq, event },
    5 => Keys(keys),
    6 => Part(part),
    7 => Refused(words),
    8 => Reply { ask, reply },
    9 => Welcome(welcome),
});
variants!(Up, "a message", {
    0 => Ack(ack),
    1 => Active(batch),
    2 => Ask { ask, question },
    3 => Hello(hello),
    4 => Keys(keys),
    5 => Nack { facts, reason },
    6 => Report { revocation, report },
});

impl Wire for SocketAddr {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_string().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from)?.parse().map_err(|_| WireError::Value("an address"))
    }
}

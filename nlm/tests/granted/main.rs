//! One client's GRANTED calls, with a clock of the test's own.

#![allow(missing_docs)]

mod messages;
mod ways;

use cleat_lock::{GrantAck, WaiterId};
use cleat_nlm::contact::Waiting;
use cleat_nlm::granted::{
    Action, Because, CALLS_BEFORE_MESSAGE, Event, Failure, Form, GRACE_RETRY_MS, IN_FLIGHT_MAX,
    MISSES_MAX, PORT_KEPT_MS, Route, Sender, TCP_TIMEOUT_MS, TOLD_AGAIN_MS, Ticket,
};
use cleat_nlm::owner::{Origin, Transport};
use cleat_nlm::wire::{Lock, Stat, TestArgs};
use cleat_nlm::{Message, Version};
use cleat_rpc::Reader;
use proptest::prelude::*;

const FH: &[u8] = b"handle";
const PORT: u16 = 4045;

fn waiting(server: u8, transport: Transport) -> Waiting {
    let origin = Origin::new(b"guest1", [10, 0, 0, 2].into(), [10, 0, 0, server].into(), transport);
    let lock =
        Lock { caller_name: b"guest1", fh: FH, oh: b"7@guest1", svid: 7, offset: 5, length: 9 };
    Waiting::new(b"cookie!", true, &lock, &origin, Version::V4)
}

fn route(server: u8, transport: Transport) -> Route {
    let (client, server) = ([10, 0, 0, 2].into(), [10, 0, 0, server].into());
    Route { client, server, transport, version: Version::V4 }
}

fn tcp() -> Route {
    route(1, Transport::Tcp)
}

/// A sender and what it did last.
#[derive(Default)]
struct Lab {
    sender: Sender,
}

impl Lab {
    fn step(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.sender.step(now_ms, event, &mut actions);
        actions
    }

    fn grant(&mut self, now_ms: u64, waiter: u64, server: u8, transport: Transport) -> Vec<Action> {
        let waiting = Box::new(waiting(server, transport));
        let told = false;
        self.step(now_ms, Event::Grant { waiter: WaiterId(waiter), waiting, told })
    }

    /// A sender whose first grant's first call is under way over `transport` since time 0.
    fn calling(transport: Transport) -> Self {
        let mut lab = Self::default();
        let route = route(1, transport);
        assert_eq!(lab.grant(0, 1, 1, transport), [ask(route)]);
        let actions = lab.step(0, Event::Port { route, port: Some(PORT) });
        assert_eq!(called(&actions), [ticket(1, 1)]);
        lab
    }

    fn answered(&mut self, now_ms: u64, ticket: Ticket, stat: Stat) -> Vec<Action> {
        self.step(now_ms, Event::Answered { ticket, stat })
    }

    fn result(&mut self, now_ms: u64, ticket: Ticket, stat: Stat) -> Vec<Action> {
        self.step(now_ms, Event::Result { ticket, stat })
    }

    fn failed(&mut self, now_ms: u64, ticket: Ticket, failure: Failure) -> Vec<Action> {
        self.step(now_ms, Event::Failed { ticket, failure })
    }

    fn port(&mut self, now_ms: u64, route: Route, port: Option<u16>) -> Vec<Action> {
        self.step(now_ms, Event::Port { route, port })
    }
}

fn ticket(waiter: u64, attempt: u32) -> Ticket {
    Ticket { waiter: WaiterId(waiter), attempt }
}

/// The question for the port by the LOCK's own transport.
fn ask(route: Route) -> Action {
    Action::AskPort { route, via: route.transport }
}

fn other(transport: Transport) -> Transport {
    if transport == Transport::Tcp { Transport::Udp } else { Transport::Tcp }
}

/// The same by the other.
fn ask_other(route: Route) -> Action {
    Action::AskPort { route, via: other(route.transport) }
}

fn called(actions: &[Action]) -> Vec<Ticket> {
    let call = |action: &Action| match action {
        Action::Call { ticket, .. } => Some(*ticket),
        _ => None,
    };
    actions.iter().filter_map(call).collect()
}

fn outcome(waiter: u64, outcome: GrantAck, because: Because) -> [Action; 1] {
    [Action::Outcome { waiter: WaiterId(waiter), outcome, because }]
}

#[test]
fn the_call_goes_from_the_address_the_lock_came_to_and_says_what_the_lock_said() {
    let mut lab = Lab::default();
    lab.grant(0, 1, 1, Transport::Tcp);
    let actions = lab.port(5, tcp(), Some(PORT));
    let [Action::Call { route, port, arguments, timeout_ms, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((*route, *port, *timeout_ms), (tcp(), PORT, TCP_TIMEOUT_MS));
    let mut reader = Reader::new(arguments);
    let args: TestArgs<'_> = reader.get().expect("arguments");
    assert_eq!((args.cookie, args.exclusive), (&b"cookie!"[..], true));
    assert_eq!((args.lock.fh, args.lock.oh, args.lock.svid), (FH, &b"7@guest1"[..], 7));
    assert_eq!((args.lock.offset, args.lock.length), (5, 9));
}

#[test]
fn a_granted_reply_acknowledges() {
    let mut lab = Lab::calling(Transport::Tcp);
    let actions = lab.answered(9, ticket(1, 1), Stat::Granted);
    assert_eq!(actions, outcome(1, GrantAck::Accepted, Because::Granted));
    assert!(lab.sender.is_idle());
}

#[test]
fn a_sender_is_kept_while_a_port_is_asked_for() {
    let mut lab = Lab::default();
    assert_eq!(lab.grant(0, 1, 1, Transport::Tcp), [ask(tcp())]);
    for waiter in 1..100 {
        lab.step(0, Event::Over { waiter: WaiterId(waiter) });
        assert!(!lab.sender.is_idle());
        assert_eq!(lab.grant(0, waiter + 1, 1, Transport::Tcp), [], "asked once");
    }
    lab.step(0, Event::Over { waiter: WaiterId(100) });
    assert_eq!(lab.port(5, tcp(), Some(PORT)), []);
    assert!(lab.sender.is_idle());
}

#[test]
fn a_denied_first_call_rolls_the_grant_back() {
    for stat in [Stat::Denied, Stat::DeniedNolocks, Stat::Failed] {
        let mut lab = Lab::calling(Transport::Tcp);
        let actions = lab.answered(9, ticket(1, 1), stat);
        assert_eq!(actions, outcome(1, GrantAck::Refused, Because::Denied(stat)));
        assert!(lab.sender.is_idle());
    }
}

/// The client took the lock from the first call, whose reply was lost, and waits no longer.
#[test]
fn a_denied_repetition_does_not_take_the_lock_from_a_client_that_may_have_it() {
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.failed(10_000, ticket(1, 1), Failure::NoReply), [ask(tcp())]);
    assert_eq!(called(&lab.port(10_000, tcp(), Some(PORT))), [ticket(1, 2)]);
    let because = Because::DeniedWhenRepeated(Stat::Denied);
    let actions = lab.answered(10_001, ticket(1, 2), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Assumed, because));
}

#[test]
fn a_denied_call_rolls_back_where_no_earlier_one_arrived() {
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.failed(1, ticket(1, 1), Failure::NotDelivered), [], "not at once");
    assert_eq!(lab.sender.next_deadline(), Some(1_000));
    assert_eq!(lab.step(1_000, Event::Tick), [ask(tcp())]);
    assert_eq!(called(&lab.port(1_001, tcp(), Some(PORT))), [ticket(1, 2)]);
    let actions = lab.answered(1_002, ticket(1, 2), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Refused, Because::Denied(Stat::Denied)));
}

#[test]
fn a_call_that_was_withdrawn_says_nothing_of_the_way() {
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.step(1, Event::Over { waiter: WaiterId(1) }), []);
    assert_eq!(lab.failed(2, ticket(1, 1), Failure::Withdrawn), []);
    assert!(lab.sender.is_idle());
    // The port is known still, and the way is free.
    for waiter in 2..2 + IN_FLIGHT_MAX as u64 {
        assert_eq!(called(&lab.grant(3, waiter, 1, Transport::Tcp)), [ticket(waiter, 1)]);
    }
    // One whose grant stands after all is made again.
    assert_eq!(lab.failed(4, ticket(2, 1), Failure::Withdrawn), []);
    assert_eq!(lab.sender.next_deadline(), Some(1_003));
    assert_eq!(called(&lab.step(1_003, Event::Tick)), [ticket(2, 2)]);
    // Late words of it are nothing.
    assert_eq!(lab.failed(1_004, ticket(2, 1), Failure::Withdrawn), []);
}

#[test]
fn a_grant_from_the_store_may_have_been_told_before() {
    let mut lab = Lab::default();
    let waiting = Box::new(waiting(1, Transport::Tcp));
    // Its client has time to show what it knows.
    assert_eq!(lab.step(0, Event::Grant { waiter: WaiterId(1), waiting, told: true }), []);
    assert_eq!(lab.sender.next_deadline(), Some(TOLD_AGAIN_MS));
    assert_eq!(lab.step(TOLD_AGAIN_MS, Event::Tick), [ask(tcp())]);
    assert_eq!(called(&lab.port(TOLD_AGAIN_MS, tcp(), Some(PORT))), [ticket(1, 1)]);
    let because = Because::DeniedWhenRepeated(Stat::Denied);
    let actions = lab.answered(TOLD_AGAIN_MS + 1, ticket(1, 1), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Assumed, because));
}

#[test]
fn denied_grace_period_means_again_in_10_seconds() {
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.answered(100, ticket(1, 1), Stat::DeniedGracePeriod), []);
    assert_eq!(lab.sender.next_deadline(), Some(100 + GRACE_RETRY_MS));
    let actions = lab.step(100 + GRACE_RETRY_MS, Event::Tick);
    assert_eq!(called(&actions), [ticket(1, 2)]);
    // It was not taken: a "no" now is a "no".
    let actions = lab.answered(20_000, ticket(1, 2), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Refused, Because::Denied(Stat::Denied)));
}

#[test]
fn calls_over_udp_are_repeated_ever_more_slowly() {
    let mut lab = Lab::calling(Transport::Udp);
    let route = route(1, Transport::Udp);
    let (mut now_ms, mut gaps) = (0, Vec::new());
    for attempt in 1..=8 {
        let timeout_ms = [1, 2, 4, 8, 16, 30, 30, 30][attempt as usize - 1] * 1_000;
        now_ms += timeout_ms;
        gaps.push(timeout_ms);
        let actions = lab.failed(now_ms, ticket(1, attempt), Failure::NoReply);
        let by_udp = (attempt / MISSES_MAX).is_multiple_of(2);
        let asked = if by_udp { ask(route) } else { ask_other(route) };
        assert_eq!(actions, [asked], "its port is asked for again");
        let actions = lab.port(now_ms, route, Some(PORT));
        let [Action::Call { timeout_ms, .. }] = &actions[..] else { panic!("{actions:?}") };
        let next = [2, 4, 8, 16, 30, 30, 30, 30][attempt as usize - 1] * 1_000;
        assert_eq!(*timeout_ms, if by_udp { next } else { TCP_TIMEOUT_MS });
    }
    assert_eq!(gaps.iter().sum::<u64>(), 121_000);
}

#[test]
fn a_grant_that_is_over_is_not_repeated() {
    let over = |waiter| Event::Over { waiter: WaiterId(waiter) };
    // Before it was sent.
    let mut lab = Lab::default();
    lab.grant(0, 1, 1, Transport::Tcp);
    assert_eq!(lab.step(1, over(1)), []);
    assert_eq!(lab.port(2, tcp(), Some(PORT)), []);
    assert!(lab.sender.is_idle());
    // While it is under way, whatever comes of it.
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.step(1, over(1)), []);
    assert_eq!(lab.answered(2, ticket(1, 1), Stat::Denied), []);
    assert!(lab.sender.is_idle());
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.step(1, over(1)), []);
    assert_eq!(lab.failed(2, ticket(1, 1), Failure::NoReply), []);
    assert!(lab.sender.is_idle());
}

#[test]
fn one_silent_address_does_not_delay_calls_from_another() {
    let mut lab = Lab::calling(Transport::Tcp);
    let other = route(2, Transport::Tcp);
    assert_eq!(lab.grant(1, 2, 2, Transport::Tcp), [ask(other)]);
    assert_eq!(called(&lab.port(2, other, Some(PORT))), [ticket(2, 1)]);
}

#[test]
fn so_many_calls_at_a_time_and_the_rest_in_order() {
    let mut lab = Lab::default();
    let all = IN_FLIGHT_MAX as u64 + 2;
    (1..=all).for_each(|waiter| drop(lab.grant(0, waiter, 1, Transport::Tcp)));
    let actions = lab.port(0, tcp(), Some(PORT));
    let first: Vec<_> = (1..=IN_FLIGHT_MAX as u64).map(|waiter| ticket(waiter, 1)).collect();
    assert_eq!(called(&actions), first);
    assert_eq!(lab.sender.next_deadline(), None);
    let actions = lab.answered(1, ticket(3, 1), Stat::Granted);
    assert_eq!(called(&actions), [ticket(all - 1, 1)]);
}

#[test]
fn an_old_or_unknown_ticket_is_ignored() {
    let mut lab = Lab::calling(Transport::Tcp);
    assert_eq!(lab.answered(1, ticket(1, 7), Stat::Granted), []);
    assert_eq!(lab.answered(1, ticket(9, 1), Stat::Granted), []);
    assert_eq!(lab.failed(1, ticket(9, 1), Failure::NoReply), []);
    assert_eq!(lab.port(1, tcp(), None), [], "not asked for");
    assert!(!lab.sender.is_idle());
}

/// What a client and a network may do to one call, chosen by chance.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Stat(Stat),
    Failure(Failure),
    NoPort,
    Over,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Stat(Stat::Granted)),
        Just(Fate::Stat(Stat::Denied)),
        Just(Fate::Stat(Stat::DeniedGracePeriod)),
        Just(Fate::Failure(Failure::NoReply)),
        Just(Fate::Failure(Failure::NotDelivered)),
        Just(Fate::Failure(Failure::NotRun)),
        Just(Fate::NoPort),
        Just(Fate::Over),
    ]
}

proptest! {
    /// Each grant ends once, by an outcome or by being over; a lock is only taken back where the
    /// client cannot have it; and a client that answers at last gets everything.
    #[test]
    fn every_grant_ends_once(
        fates in proptest::collection::vec(fate(), 0..60), grants in 1..20u64,
    ) {
        let mut lab = Lab::default();
        let mut work = Vec::new();
        for waiter in 1..=grants {
            let server = u8::try_from(waiter % 3).expect("small");
            work.extend(lab.grant(0, waiter, server, Transport::Udp));
        }
        let (mut now_ms, mut fates) = (0, fates.into_iter());
        let mut open: std::collections::BTreeSet<u64> = (1..=grants).collect();
        let mut silent = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let Some(action) = work.pop() else {
                if lab.sender.is_idle() {
                    break;
                }
                let Some(deadline_ms) = lab.sender.next_deadline() else { break };
                now_ms = now_ms.max(deadline_ms);
                work = lab.step(now_ms, Event::Tick);
                // A port that is kept no longer is no work.
                let later = lab.sender.next_deadline().is_none_or(|next_ms| next_ms > deadline_ms);
                prop_assert!(!work.is_empty() || later, "a deadline with nothing to do");
                continue;
            };
            let fate = fates.next().unwrap_or(Fate::Stat(Stat::Granted));
            now_ms += 10;
            match action {
                Action::AskPort { route, .. } => {
                    let port = (!matches!(fate, Fate::NoPort)).then_some(PORT);
                    work.extend(lab.port(now_ms, route, port));
                }
                Action::Call { ticket, form, .. } => {
                    if matches!(fate, Fate::Over) {
                        prop_assert!(open.remove(&ticket.waiter.0));
                        work.extend(lab.step(now_ms, Event::Over { waiter: ticket.waiter }));
                    }
                    let event = match fate {
                        Fate::Stat(stat) if form == Form::Message => {
                            work.extend(lab.result(now_ms, ticket, stat));
                            Event::Delivered { ticket }
                        }
                        Fate::Stat(stat) => Event::Answered { ticket, stat },
                        Fate::Failure(failure) => Event::Failed { ticket, failure },
                        Fate::NoPort => Event::Failed { ticket, failure: Failure::NoReply },
                        Fate::Over => Event::Failed { ticket, failure: Failure::Withdrawn },
                    };
                    if matches!(event, Event::Failed { failure: Failure::NoReply, .. }) {
                        silent.insert(ticket.waiter.0);
                    }
                    work.extend(lab.step(now_ms, event));
                }
                Action::Outcome { waiter, outcome, .. } => {
                    prop_assert!(open.remove(&waiter.0), "ended twice");
                    prop_assert!(
                        outcome != GrantAck::Refused || !silent.contains(&waiter.0),
                        "taken from a client that may have it"
                    );
                }
            }
        }
        prop_assert!(open.is_empty() && lab.sender.is_idle(), "{open:?}");
    }
}

//! Grants that are sent as messages, and their results.

use super::*;

/// The forms in which the attempts went out, with the cookies they carried.
fn sent(actions: &[Action]) -> Vec<(Form, Vec<u8>)> {
    let call = |action: &Action| match action {
        Action::Call { form, arguments, route, .. } => {
            let args = TestArgs::read(&mut Reader::new(arguments), route.version);
            Some((*form, args.expect("arguments").cookie.to_vec()))
        }
        _ => None,
    };
    actions.iter().filter_map(call).collect()
}

impl Lab {
    /// A sender whose client refused the call, and whose message is under way.
    fn messaging() -> Self {
        let mut lab = Self::calling(Transport::Udp);
        let route = route(1, Transport::Udp);
        let actions = lab.failed(1, ticket(1, 1), Failure::NotRun);
        assert_eq!(actions, [ask(route)], "at once");
        let actions = lab.port(2, route, Some(PORT));
        assert_eq!(sent(&actions), [(Form::Message, ticket(1, 2).cookie().to_vec())]);
        lab
    }
}

#[test]
fn a_call_that_the_client_does_not_understand_is_sent_as_a_message_at_once() {
    let mut lab = Lab::messaging();
    assert_eq!(lab.step(3, Event::Delivered { ticket: ticket(1, 2) }), []);
    let actions = lab.result(4, ticket(1, 2), Stat::Granted);
    assert_eq!(actions, outcome(1, GrantAck::Accepted, Because::Granted));
    assert!(lab.sender.is_idle());
}

#[test]
fn a_client_that_understands_neither_form_is_not_asked_without_end() {
    let mut lab = Lab::messaging();
    assert_eq!(lab.failed(3, ticket(1, 2), Failure::NotRun), []);
    assert_eq!(lab.sender.next_deadline(), Some(2 + 2_000));
}

#[test]
fn a_result_may_come_before_the_end_of_its_message() {
    let mut lab = Lab::messaging();
    let actions = lab.result(4, ticket(1, 2), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Refused, Because::Denied(Stat::Denied)));
    assert_eq!(lab.step(5, Event::Delivered { ticket: ticket(1, 2) }), []);
    assert!(lab.sender.is_idle());
}

#[test]
fn a_call_that_is_not_answered_takes_turns_with_the_message() {
    let mut lab = Lab::calling(Transport::Udp);
    let (route, mut forms, mut now_ms) = (route(1, Transport::Udp), Vec::new(), 0);
    for attempt in 1..=6 {
        now_ms += 100_000;
        let mut actions = lab.failed(now_ms, ticket(1, attempt), Failure::NoReply);
        actions.extend(lab.port(now_ms, route, Some(PORT)));
        forms.extend(sent(&actions).into_iter().map(|(form, _)| form));
    }
    let turns = [Form::Message, Form::Call].into_iter().cycle();
    let expected: Vec<Form> =
        [Form::Call; CALLS_BEFORE_MESSAGE as usize - 1].into_iter().chain(turns).take(6).collect();
    assert_eq!(forms, expected);
}

/// The first of two messages was accepted, and its result overtaken by the denial of the second.
#[test]
fn a_denial_of_a_repeated_message_takes_nothing_away() {
    let because = Because::DeniedWhenRepeated(Stat::Denied);
    for answered in [2, 3] {
        let mut lab = Lab::messaging();
        assert_eq!(lab.step(3, Event::Delivered { ticket: ticket(1, 2) }), []);
        let actions = lab.step(10_000, Event::Tick);
        assert_eq!(called(&actions), [ticket(1, 3)]);
        let actions = lab.result(10_001, ticket(1, answered), Stat::Denied);
        assert_eq!(actions, outcome(1, GrantAck::Assumed, because));
    }
}

#[test]
fn a_result_of_no_message_is_ignored() {
    let mut lab = Lab::messaging();
    for ticket in [ticket(1, 0), ticket(1, 3), ticket(2, 1)] {
        assert_eq!(lab.result(3, ticket, Stat::Granted), []);
    }
    assert!(!lab.sender.is_idle());
    let mut lab = Lab::calling(Transport::Udp);
    lab.step(1, Event::Over { waiter: WaiterId(1) });
    assert_eq!(lab.result(2, ticket(1, 1), Stat::Denied), [], "over");
    // And one that comes twice counts once.
    let mut lab = Lab::messaging();
    assert_eq!(lab.result(4, ticket(1, 2), Stat::Granted).len(), 1);
    assert_eq!(lab.result(4, ticket(1, 2), Stat::Granted), []);
}

#[test]
fn a_result_that_says_grace_means_again_in_10_seconds() {
    let mut lab = Lab::messaging();
    assert_eq!(lab.step(3, Event::Delivered { ticket: ticket(1, 2) }), []);
    assert_eq!(lab.result(4, ticket(1, 2), Stat::DeniedGracePeriod), []);
    assert_eq!(lab.sender.next_deadline(), Some(4 + GRACE_RETRY_MS));
    lab.step(4 + GRACE_RETRY_MS, Event::Tick);
    let actions = lab.result(20_000, ticket(1, 3), Stat::Denied);
    assert_eq!(actions, outcome(1, GrantAck::Refused, Because::Denied(Stat::Denied)));
}

#[test]
fn a_cookie_names_its_attempt() {
    let ticket = ticket(0x0102_0304_0506_0708, 0x090a_0b0c);
    assert_eq!(ticket.cookie(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(Ticket::of_cookie(&ticket.cookie()), Some(ticket));
    for cookie in [&b""[..], b"cookie!", &[0; 11], &[0; 13], &[0; 1024]] {
        assert_eq!(Ticket::of_cookie(cookie), None);
    }
}

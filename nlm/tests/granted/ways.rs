//! By which transport a client is called and at which port, and how long that is believed.

use super::*;

#[test]
fn a_client_without_a_port_mapper_is_asked_both_ways_ever_more_slowly() {
    let mut lab = Lab::default();
    let mut actions = lab.grant(0, 1, 1, Transport::Tcp);
    let mut now_ms = 0;
    for wait_s in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(actions, [ask(tcp())]);
        assert_eq!(lab.port(now_ms, tcp(), None), [ask_other(tcp())], "at once");
        assert_eq!(lab.port(now_ms, tcp(), None), []);
        assert_eq!(lab.sender.next_deadline(), Some(now_ms + wait_s * 1_000));
        now_ms += wait_s * 1_000;
        assert_eq!(lab.step(now_ms - 1, Event::Tick), []);
        actions = lab.step(now_ms, Event::Tick);
    }
    assert!(!lab.sender.is_idle());
}

/// By which transport each attempt goes.
fn ways(actions: &[Action]) -> Vec<Transport> {
    let call = |action: &Action| match action {
        Action::Call { via, .. } => Some(*via),
        _ => None,
    };
    actions.iter().filter_map(call).collect()
}

#[test]
fn a_client_that_listens_only_the_other_way_is_called_that_way_and_again() {
    let mut lab = Lab::default();
    let route = route(1, Transport::Udp);
    assert_eq!(lab.grant(0, 1, 1, Transport::Udp), [ask(route)]);
    assert_eq!(lab.port(5, route, None), [ask_other(route)]);
    let actions = lab.port(9, route, Some(PORT));
    let [Action::Call { via: Transport::Tcp, timeout_ms, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*timeout_ms, TCP_TIMEOUT_MS);
    assert_eq!(lab.answered(10, ticket(1, 1), Stat::Granted).len(), 1);
    assert_eq!(ways(&lab.grant(11, 2, 1, Transport::Udp)), [Transport::Tcp]);
    lab.answered(12, ticket(2, 1), Stat::Granted);
    // Once that is forgotten the LOCK's own way comes first again.
    assert_eq!(lab.grant(12 + PORT_KEPT_MS, 3, 1, Transport::Udp), [ask(route)]);
}

#[test]
fn a_way_on_which_calls_fail_again_and_again_gives_the_other_its_turn() {
    for (failure, tries) in
        [(Failure::NotDelivered, MISSES_MAX / 2), (Failure::NoReply, MISSES_MAX)]
    {
        let mut lab = Lab::calling(Transport::Tcp);
        let mut now_ms = 0;
        let mut vias = vec![Transport::Tcp];
        for attempt in 1..=2 * tries {
            now_ms += 100_000;
            lab.failed(now_ms, ticket(1, attempt), failure);
            vias.extend(ways(&lab.port(now_ms, tcp(), Some(PORT))));
        }
        let tries = tries as usize;
        assert_eq!(vias[..tries], vec![Transport::Tcp; tries]);
        assert_eq!(vias[tries..2 * tries], vec![Transport::Udp; tries]);
        assert_eq!(vias[2 * tries..], [Transport::Tcp], "and back");
    }
}

#[test]
fn an_answer_between_two_failures_proves_the_way() {
    let mut lab = Lab::calling(Transport::Tcp);
    let mut now_ms = 0;
    for attempt in 1..=3 * MISSES_MAX {
        now_ms += 100_000;
        if attempt % 2 == 0 {
            lab.answered(now_ms, ticket(1, attempt), Stat::DeniedGracePeriod);
            now_ms += GRACE_RETRY_MS;
            assert_eq!(ways(&lab.step(now_ms, Event::Tick)), [Transport::Tcp]);
        } else {
            lab.failed(now_ms, ticket(1, attempt), Failure::NotDelivered);
            assert_eq!(ways(&lab.port(now_ms, tcp(), Some(PORT))), [Transport::Tcp]);
        }
    }
}

#[test]
fn a_port_is_kept_for_a_minute_after_its_last_answer() {
    let mut lab = Lab::calling(Transport::Tcp);
    lab.answered(10, ticket(1, 1), Stat::Granted);
    let mut now_ms = 10;
    for waiter in 2..5 {
        now_ms += PORT_KEPT_MS - 1;
        assert_eq!(called(&lab.grant(now_ms, waiter, 1, Transport::Tcp)), [ticket(waiter, 1)]);
        lab.answered(now_ms, ticket(waiter, 1), Stat::Granted);
    }
    assert!(lab.sender.is_idle());
    assert_eq!(lab.sender.next_deadline(), Some(now_ms + PORT_KEPT_MS));
    assert_eq!(lab.step(now_ms + PORT_KEPT_MS, Event::Tick), []);
    assert_eq!(lab.sender.next_deadline(), None, "nothing is kept");
    assert_eq!(lab.grant(now_ms + PORT_KEPT_MS, 5, 1, Transport::Tcp), [ask(tcp())]);
}

#[test]
fn a_port_is_forgotten_where_a_call_fails_though_its_grant_is_over() {
    let mut lab = Lab::calling(Transport::Tcp);
    lab.step(1, Event::Over { waiter: WaiterId(1) });
    assert_eq!(lab.failed(2, ticket(1, 1), Failure::NoReply), []);
    assert_eq!((lab.sender.is_idle(), lab.sender.next_deadline()), (true, None));
    assert_eq!(lab.grant(3, 2, 1, Transport::Tcp), [ask(tcp())]);
}

/// A client that has restarted since has another port: that it was kept costs no second.
#[test]
fn a_kept_port_that_is_closed_is_asked_for_again_at_once() {
    let mut lab = Lab::calling(Transport::Tcp);
    lab.answered(10, ticket(1, 1), Stat::Granted);
    assert_eq!(called(&lab.grant(50, 2, 1, Transport::Tcp)), [ticket(2, 1)]);
    assert_eq!(lab.failed(51, ticket(2, 1), Failure::NotDelivered), [ask(tcp())]);
    assert_eq!(called(&lab.port(52, tcp(), Some(PORT))), [ticket(2, 2)]);
    assert_eq!(lab.failed(53, ticket(2, 2), Failure::NotDelivered), [], "that was a fresh one");
}

/// A sender that takes back what cannot be told for a minute.
fn impatient() -> Lab {
    Lab { sender: Sender::new(Some(60_000)) }
}

#[test]
fn a_grant_that_cannot_be_told_is_taken_back() {
    for finds_port in [false, true] {
        let mut lab = impatient();
        lab.grant(0, 1, 1, Transport::Tcp);
        let (mut now_ms, mut attempt) = (0, 0);
        let ended = loop {
            let port = finds_port.then_some(PORT);
            let mut actions = lab.port(now_ms, tcp(), port);
            while let [ticket] = called(&actions)[..] {
                attempt += 1;
                assert_eq!(ticket.attempt, attempt);
                actions = lab.failed(now_ms, ticket, Failure::NotDelivered);
            }
            now_ms = lab.sender.next_deadline().unwrap_or(now_ms + 1).max(now_ms + 1);
            let actions = lab.step(now_ms, Event::Tick);
            if let [Action::Outcome { .. }, ..] = actions[..] {
                break actions;
            }
            assert!(now_ms < 61_000, "{finds_port}");
        };
        assert_eq!(ended[..1], outcome(1, GrantAck::Refused, Because::Unreachable));
        assert_eq!(now_ms, 60_000, "{finds_port}");
    }
}

#[test]
fn a_grant_that_may_have_been_told_is_not_taken_back() {
    let mut lab = impatient();
    lab.grant(0, 1, 1, Transport::Tcp);
    let actions = lab.port(0, tcp(), Some(PORT));
    let [first] = called(&actions)[..] else { panic!("{actions:?}") };
    lab.failed(1_000, first, Failure::NoReply);
    for now_ms in (2..200).map(|n| n * 1_000) {
        for action in lab.step(now_ms, Event::Tick) {
            match action {
                Action::Call { ticket, .. } => {
                    lab.failed(now_ms, ticket, Failure::NotDelivered);
                }
                Action::AskPort { route, .. } => drop(lab.port(now_ms, route, None)),
                Action::Outcome { .. } => panic!("taken back after {now_ms} ms"),
            }
        }
    }
    // One of before a restart may have been told by the instance before.
    let mut lab = impatient();
    let (waiter, waiting) = (WaiterId(1), Box::new(waiting(1, Transport::Tcp)));
    lab.step(0, Event::Grant { waiter, waiting, told: true });
    for now_ms in (10..200).map(|n| n * 1_000) {
        for action in lab.step(now_ms, Event::Tick) {
            assert!(!matches!(action, Action::Outcome { .. }));
            lab.port(now_ms, tcp(), None);
        }
    }
}

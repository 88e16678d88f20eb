//! The SM_NOTIFY calls of one start, with a clock of the test's own.

#![allow(missing_docs)]

use cleat_nlm::contact::Contact;
use cleat_nlm::notify::{
    Action, Event, IN_FLIGHT_MAX, NoticeId, NotifyPlan, PATIENCE_MS_MIN, RETRY_MS_MAX,
    TIMEOUT_MS_MIN,
};
use cleat_nlm::nsm::StateChange;
use cleat_nlm::owner::{Origin, Transport};
use cleat_rpc::Reader;

fn origin(name: &str, client: u8, server: u8) -> Origin {
    let (client, server) = ([10, 0, 0, client].into(), [10, 0, 1, server].into());
    Origin::new(name.as_bytes(), client, server, Transport::Tcp)
}

fn step(plan: &mut NotifyPlan, now_ms: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    plan.step(now_ms, event, &mut actions);
    actions
}

/// Who is called, from where, under which name, and how.
fn calls(actions: &[Action]) -> Vec<(NoticeId, String, Transport)> {
    let call = |action: &Action| match action {
        Action::Call { id, client, local, transport, arguments, .. } => {
            let (mut names, mut states) = (Vec::new(), Vec::new());
            for arguments in arguments {
                let change: StateChange<'_> = Reader::new(arguments).get().expect("arguments");
                names.push(String::from_utf8_lossy(change.mon_name).into_owned());
                states.push(change.state);
            }
            let text = format!("{client} from {local} as {} state {states:?}", names.join(","));
            Some((*id, text, *transport))
        }
        Action::Settled { .. } => None,
    };
    actions.iter().filter_map(call).collect()
}

#[test]
fn every_client_is_told_from_each_address_it_used_by_each_name_of_ours() {
    let mut first = Contact::new(&origin("guest1", 2, 1));
    first.merge(&origin("guest1", 2, 2));
    let second = Contact::new(&origin("guest2", 3, 1));
    let names = [b"nas".to_vec()];
    let mut plan = NotifyPlan::new(0, 5, [&first, &second], &names, 0, IN_FLIGHT_MAX);
    let texts: Vec<_> = calls(&step(&mut plan, 0, Event::Tick)).into_iter().map(|c| c.1).collect();
    assert_eq!(
        texts,
        [
            "10.0.0.2 from 10.0.1.1 as 10.0.1.1,nas state [5, 5]",
            "10.0.0.2 from 10.0.1.2 as 10.0.1.2,nas state [5, 5]",
            "10.0.0.3 from 10.0.1.1 as 10.0.1.1,nas state [5, 5]",
        ]
    );
}

#[test]
fn an_answered_client_is_settled_and_called_no_more() {
    let contact = Contact::new(&origin("guest1", 2, 1));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[], 0, IN_FLIGHT_MAX);
    let (id, ..) = calls(&step(&mut plan, 0, Event::Tick))[0];
    let settled = Action::Settled { client_id: "nlm:guest1@10.0.0.2".into(), answered: true };
    assert_eq!(step(&mut plan, 5, Event::Answered(id)), [settled]);
    assert_eq!(step(&mut plan, 6, Event::Answered(id)), [], "twice");
    assert!(plan.is_finished() && plan.clients_left() == 0);
    assert_eq!(plan.next_deadline(), None);
}

/// When, in seconds, a client that never answers is called, and how, where it is given so long.
fn attempts(patience_ms: u64) -> Vec<(u64, Transport)> {
    let contact = Contact::new(&origin("guest1", 2, 1));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[], patience_ms, IN_FLIGHT_MAX);
    let mut actions = step(&mut plan, 0, Event::Tick);
    let (mut attempts, mut now_ms) = (Vec::new(), 0);
    while let [(id, _, transport)] = calls(&actions)[..] {
        attempts.push((now_ms / 1_000, transport));
        actions = step(&mut plan, now_ms + 1, Event::Failed(id));
        if let Some(deadline_ms) = plan.next_deadline() {
            assert_eq!(actions, []);
            now_ms = deadline_ms;
            actions = step(&mut plan, now_ms, Event::Tick);
        }
    }
    assert_eq!(actions, [settled(false)]);
    assert!(plan.is_finished());
    attempts
}

#[test]
fn a_silent_client_is_tried_for_15_minutes_over_both_transports() {
    let attempts = attempts(5_000);
    let starts: Vec<_> = attempts.iter().map(|(start_s, _)| *start_s).collect();
    assert_eq!(starts[..8], [0, 2, 6, 14, 30, 62, 122, 182]);
    let last = starts.last().copied().unwrap_or_default();
    assert!(last < PATIENCE_MS_MIN / 1_000 && last + 60 >= PATIENCE_MS_MIN / 1_000, "{last}");
    let transports: Vec<_> = attempts.iter().take(3).map(|(_, transport)| *transport).collect();
    assert_eq!(transports, [Transport::Tcp, Transport::Udp, Transport::Tcp]);
}

#[test]
fn a_client_whose_locks_stand_for_an_hour_is_tried_for_an_hour() {
    let hour_s = 3_600;
    let attempts = attempts(hour_s * 1_000);
    let late: Vec<_> =
        attempts.into_iter().skip_while(|(s, _)| s * 1_000 < PATIENCE_MS_MIN).collect();
    let gaps = late.windows(2).map(|pair| (pair[1].0 - pair[0].0) * 1_000);
    assert!(gaps.max().is_some_and(|gap_ms| gap_ms <= RETRY_MS_MAX));
    let (last, _) = late[late.len() - 1];
    assert!(last < hour_s && (last + 1) * 1_000 + RETRY_MS_MAX >= hour_s * 1_000, "{last}");
    assert_ne!(late[0].1, late[1].1, "by turns over both transports");
}

/// A plan for one client that mounted two addresses of ours, and its calls, both under way.
fn two_calls() -> (NotifyPlan, [NoticeId; 2]) {
    let mut contact = Contact::new(&origin("guest1", 2, 1));
    contact.merge(&origin("guest1", 2, 2));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[], 0, IN_FLIGHT_MAX);
    let calls = calls(&step(&mut plan, 0, Event::Tick));
    let ids = [calls[0].0, calls[1].0];
    (plan, ids)
}

fn settled(answered: bool) -> Action {
    Action::Settled { client_id: "nlm:guest1@10.0.0.2".into(), answered }
}

#[test]
fn a_client_is_reached_at_its_first_answer_and_the_other_calls_go_on_until_they_end() {
    let (mut plan, [first, second]) = two_calls();
    assert_eq!(step(&mut plan, 1, Event::Answered(first)), [settled(true)]);
    assert_eq!(plan.clients_left(), 0);
    assert!(!plan.is_finished());
    assert_eq!(step(&mut plan, 2, Event::Failed(second)), []);
    let due_ms = plan.next_deadline().expect("tried again");
    let again = calls(&step(&mut plan, due_ms, Event::Tick));
    assert_eq!((again.len(), again[0].0), (1, second));
    assert_eq!(step(&mut plan, due_ms + 1, Event::Answered(second)), [], "it was said before");
    assert!(plan.is_finished());
}

#[test]
fn a_client_is_out_of_reach_when_the_last_of_its_calls_was_given_up() {
    let (mut plan, [first, second]) = two_calls();
    assert_eq!(step(&mut plan, PATIENCE_MS_MIN, Event::Failed(first)), []);
    assert_eq!(plan.clients_left(), 1);
    assert_eq!(step(&mut plan, PATIENCE_MS_MIN, Event::Failed(second)), [settled(false)]);
    assert!(plan.is_finished());
}

#[test]
fn only_so_many_calls_are_under_way() {
    let named = |n: usize| origin(&format!("guest{n}"), 2, 1);
    let contacts: Vec<_> = (0..=IN_FLIGHT_MAX).map(|n| Contact::new(&named(n))).collect();
    let mut plan = NotifyPlan::new(0, 1, &contacts, &[], 0, usize::MAX);
    let started = calls(&step(&mut plan, 0, Event::Tick));
    assert_eq!((started.len(), plan.next_deadline()), (IN_FLIGHT_MAX, None));
    assert_eq!(calls(&step(&mut plan, 1, Event::Failed(started[0].0))).len(), 1);
}

/// Plays a plan to its end in simulated time against clients that are gone, but for one that
/// answers within 5 ms. When that one was told, and how long an attempt was given at most by then.
fn told_after_ms(dead: usize, living_is_first: bool, first_is_lost: bool) -> u64 {
    let gone = |n: usize| {
        let [_, _, high, low] = u32::try_from(n).expect("small").to_be_bytes();
        let client = [10, 1, high, low].into();
        Contact::new(&Origin::new(b"gone", client, [10, 0, 1, 1].into(), Transport::Tcp))
    };
    let living = Contact::new(&origin("living", 2, 1));
    let mut contacts: Vec<_> = (0..dead).map(gone).collect();
    contacts.insert(if living_is_first { 0 } else { dead }, living.clone());
    let mut plan = NotifyPlan::new(0, 1, &contacts, &[], 0, IN_FLIGHT_MAX);
    let mut ends: std::collections::BTreeSet<(u64, NoticeId, bool)> =
        std::collections::BTreeSet::new();
    let (mut now_ms, mut event, mut lost) = (0, Event::Tick, first_is_lost);
    loop {
        for action in step(&mut plan, now_ms, event) {
            match action {
                Action::Call { id, client, timeout_ms, .. } => {
                    let answers = client == living.client && !std::mem::take(&mut lost);
                    let takes_ms = if answers { 5 } else { timeout_ms };
                    ends.insert((now_ms + takes_ms, id, answers));
                }
                Action::Settled { answered: true, .. } => return now_ms,
                Action::Settled { .. } => {}
            }
        }
        assert!(ends.len() <= IN_FLIGHT_MAX);
        let end = ends.first().copied();
        let tick_ms = plan.next_deadline().unwrap_or(u64::MAX);
        match end {
            Some(end) if end.0 <= tick_ms.max(now_ms) => {
                ends.pop_first();
                now_ms = end.0;
                event = if end.2 { Event::Answered(end.1) } else { Event::Failed(end.1) };
            }
            _ => (now_ms, event) = (tick_ms.max(now_ms), Event::Tick),
        }
    }
}

#[test]
fn ten_thousand_dead_clients_do_not_hold_up_the_one_that_lives() {
    let rounds = 10_000 / u64::try_from(IN_FLIGHT_MAX).expect("small") + 1;
    assert_eq!(told_after_ms(10_000, true, false), 5);
    let last_in_line_ms = told_after_ms(10_000, false, false);
    assert!(last_in_line_ms <= rounds * TIMEOUT_MS_MIN, "{last_in_line_ms}");
    // A notice that was lost comes again once everybody was tried, and before the dead are tried
    // a third time.
    let lost_ms = told_after_ms(10_000, true, true);
    assert!(lost_ms <= rounds * 2 * TIMEOUT_MS_MIN, "{lost_ms}");
}

//! The SM_NOTIFY calls of one start, with a clock of the test's own.

#![allow(missing_docs)]

use cleat_nlm::contact::Contact;
use cleat_nlm::notify::{Action, Event, GIVE_UP_MS, IN_FLIGHT_MAX, NoticeId, NotifyPlan};
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
            let change: StateChange<'_> = Reader::new(arguments).get().expect("arguments");
            let name = String::from_utf8_lossy(change.mon_name);
            let text = format!("{client} from {local} as {name} state {}", change.state);
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
    let mut plan = NotifyPlan::new(0, 5, [&first, &second], &[b"nas".to_vec()]);
    let texts: Vec<_> = calls(&step(&mut plan, 0, Event::Tick)).into_iter().map(|c| c.1).collect();
    assert_eq!(
        texts,
        [
            "10.0.0.2 from 10.0.1.1 as 10.0.1.1 state 5",
            "10.0.0.2 from 10.0.1.1 as nas state 5",
            "10.0.0.2 from 10.0.1.2 as 10.0.1.2 state 5",
            "10.0.0.2 from 10.0.1.2 as nas state 5",
            "10.0.0.3 from 10.0.1.1 as 10.0.1.1 state 5",
            "10.0.0.3 from 10.0.1.1 as nas state 5",
        ]
    );
}

#[test]
fn an_answered_client_is_settled_and_called_no_more() {
    let contact = Contact::new(&origin("guest1", 2, 1));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[]);
    let (id, ..) = calls(&step(&mut plan, 0, Event::Tick))[0];
    let settled = Action::Settled { client_id: "nlm:guest1@10.0.0.2".into(), answered: true };
    assert_eq!(step(&mut plan, 5, Event::Answered(id)), [settled]);
    assert_eq!(step(&mut plan, 6, Event::Answered(id)), [], "twice");
    assert!(plan.is_finished() && plan.clients_left() == 0);
    assert_eq!(plan.next_deadline(), None);
}

#[test]
fn a_silent_client_is_tried_for_15_minutes_over_both_transports() {
    let contact = Contact::new(&origin("guest1", 2, 1));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[]);
    let mut actions = step(&mut plan, 0, Event::Tick);
    let (mut starts, mut transports, mut now_ms) = (Vec::new(), Vec::new(), 0);
    while let [(id, _, transport)] = calls(&actions)[..] {
        starts.push(now_ms / 1_000);
        transports.push(transport);
        actions = step(&mut plan, now_ms + 1, Event::Failed(id));
        if let Some(deadline_ms) = plan.next_deadline() {
            assert_eq!(actions, []);
            now_ms = deadline_ms;
            actions = step(&mut plan, now_ms, Event::Tick);
        }
    }
    let client_id = "nlm:guest1@10.0.0.2".into();
    assert_eq!(actions, [Action::Settled { client_id, answered: false }]);
    assert_eq!(starts[..8], [0, 2, 6, 14, 30, 62, 122, 182]);
    let last = starts.last().copied().unwrap_or_default();
    assert!(last < GIVE_UP_MS / 1_000 && last + 60 >= GIVE_UP_MS / 1_000, "{last}");
    assert_eq!(transports[..3], [Transport::Tcp, Transport::Udp, Transport::Tcp]);
    assert!(plan.is_finished());
}

#[test]
fn a_client_is_settled_when_the_last_of_its_calls_has_ended() {
    let mut contact = Contact::new(&origin("guest1", 2, 1));
    contact.merge(&origin("guest1", 2, 2));
    let mut plan = NotifyPlan::new(0, 1, [&contact], &[]);
    let ids: Vec<_> = calls(&step(&mut plan, 0, Event::Tick)).into_iter().map(|c| c.0).collect();
    assert_eq!(step(&mut plan, 1, Event::Answered(ids[0])), []);
    assert_eq!(plan.clients_left(), 1);
    let settled = Action::Settled { client_id: "nlm:guest1@10.0.0.2".into(), answered: true };
    assert_eq!(step(&mut plan, GIVE_UP_MS, Event::Failed(ids[1])), [settled]);
}

#[test]
fn only_so_many_calls_are_under_way() {
    let named = |n: usize| origin(&format!("guest{n}"), 2, 1);
    let contacts: Vec<_> = (0..=IN_FLIGHT_MAX).map(|n| Contact::new(&named(n))).collect();
    let mut plan = NotifyPlan::new(0, 1, &contacts, &[]);
    let started = calls(&step(&mut plan, 0, Event::Tick));
    assert_eq!((started.len(), plan.next_deadline()), (IN_FLIGHT_MAX, None));
    assert_eq!(calls(&step(&mut plan, 1, Event::Failed(started[0].0))).len(), 1);
}

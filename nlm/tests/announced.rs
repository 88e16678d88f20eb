//! Which announcements of restarts are news, with a clock of the test's own.

#![allow(missing_docs)]

use std::net::IpAddr;

use cleat_nlm::announced::{
    Announcements, REMEMBERED_MAX, REMEMBERED_MS, REMEMBERED_PER_SOURCE_MAX,
};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn source(number: usize) -> IpAddr {
    let [_, _, high, low] = u32::try_from(number).expect("small").to_be_bytes();
    [10, 1, high, low].into()
}

#[test]
fn the_first_announcement_is_news_and_its_repetition_is_not_while_statds_repeat_it() {
    let mut heard = Announcements::default();
    assert!(heard.hear(7, SOURCE, Some(b"guest1"), 5));
    for now_ms in [7, 2_000, 7 + REMEMBERED_MS - 1] {
        assert!(!heard.hear(now_ms, SOURCE, Some(b"guest1"), 5), "{now_ms}");
        assert!(!heard.hear(now_ms, SOURCE, Some(b"GUEST1"), 5), "{now_ms}");
    }
    // To be asked for in vain does not prolong it.
    assert!(heard.hear(7 + REMEMBERED_MS, SOURCE, Some(b"guest1"), 5));
}

#[test]
fn a_host_that_goes_back_to_an_earlier_state_has_restarted_too() {
    let mut heard = Announcements::default();
    for (now_ms, state) in (0..).zip([3, 5, 3, 5]) {
        assert!(heard.hear(now_ms, SOURCE, Some(b"guest1"), state));
        assert!(!heard.hear(now_ms, SOURCE, Some(b"guest1"), state));
    }
}

#[test]
fn another_state_name_or_address_is_news() {
    let mut heard = Announcements::default();
    assert!(heard.hear(0, SOURCE, Some(b"guest1"), 5));
    assert!(heard.hear(0, SOURCE, Some(b"guest1"), 7));
    assert!(heard.hear(0, SOURCE, Some(b"guest2"), 5));
    assert!(heard.hear(0, SOURCE, Some(b""), 5));
    assert!(heard.hear(0, SOURCE, None, 5));
    assert!(heard.hear(0, source(1), Some(b"guest1"), 5));
    // A mapped address is no other.
    assert!(!heard.hear(1, SOURCE, None, 5));
    let mapped = "::ffff:10.0.0.2".parse().expect("an address");
    assert!(!heard.hear(1, mapped, Some(b"guest1"), 7));
}

#[test]
fn what_could_not_be_done_is_news_again() {
    let mut heard = Announcements::default();
    assert!(heard.hear(0, SOURCE, Some(b"guest1"), 5));
    assert!(heard.hear(0, SOURCE, Some(b"guest2"), 5));
    heard.forget(SOURCE, Some(b"guest1"), 5);
    heard.forget(SOURCE, Some(b"guest2"), 3);
    assert!(heard.hear(1, SOURCE, Some(b"guest1"), 5));
    assert!(!heard.hear(1, SOURCE, Some(b"guest2"), 5));
}

#[test]
fn one_address_that_announces_much_costs_the_others_nothing() {
    let mut heard = Announcements::default();
    assert!(heard.hear(0, SOURCE, Some(b"guest1"), 5));
    let name = |number: usize| format!("guest{number}").into_bytes();
    let last = 2 * REMEMBERED_MAX - 1;
    assert!((0..=last).all(|number| heard.hear(1, source(1), Some(&name(number)), 5)));
    assert!(!heard.hear(2, SOURCE, Some(b"guest1"), 5));
    // Of its own the oldest are forgotten.
    let kept = last - REMEMBERED_PER_SOURCE_MAX + 1;
    assert!(!heard.hear(2, source(1), Some(&name(kept)), 5));
    assert!(heard.hear(2, source(1), Some(&name(kept - 1)), 5));
}

#[test]
fn so_many_are_remembered_and_the_oldest_is_forgotten() {
    let mut heard = Announcements::default();
    assert!((0..=REMEMBERED_MAX).all(|number| heard.hear(0, source(number), None, 5)));
    assert!(!heard.hear(1, source(1), None, 5));
    assert!(heard.hear(1, source(0), None, 5));
}

//! What a client makes of what it hears: replies, GRANTED, the end of a wait; and what it does unasked.

use cleat_lock::Outcome;

use super::World;
use super::host::{Job, Kind, Process};
use super::types::{Body, Callback, Event, Lane, Message, Reply, Request, Stat, Wish};

impl World {
    pub fn replied(&mut self, reply: &Reply) {
        let Request { host, life, connection, process, lane, xid, body } = reply.to;
        let it = &self.hosts[host];
        if (it.life, it.connection) != (life, connection) || !it.is_reachable() {
            return;
        }
        if it.protocol.is_connected() && reply.epoch > it.known_epoch {
            // A connection ends with its server. Who made a new one knows why, unasked.
            self.server_restarted(host, reply.epoch);
        }
        let it = &mut self.hosts[host];
        if it.under_way.get(&lane).is_none_or(|under_way| under_way.request.xid != xid) {
            return;
        }
        it.under_way.remove(&lane);
        let (outcome, told) = (&reply.outcome, (reply.epoch, reply.stamp));
        match (lane, it.processes[process].job) {
            (Lane::Notify, _) => self.notified(host, body),
            (Lane::Reclaim, _) => self.reclaimed(host, process, body, reply),
            (_, Job::Asking { wish, flag }) => {
                self.answered(host, process, (wish, flag), outcome, told);
            }
            (_, Job::Cancelling { span, took, .. }) => {
                if took || *outcome == Outcome::AlreadyHeld {
                    self.unlock(host, process, span);
                } else {
                    self.without(host, process, span);
                }
            }
            (_, Job::Sharing { file, deal }) => {
                // As with a lock, only what the server says that the client knows of counts.
                if *outcome == Outcome::Granted && told.0 >= it.known_epoch {
                    self.reserve(host, process, (file, deal), told);
                } else {
                    self.without_share(host, process, file);
                }
            }
            (_, Job::Closing { file, unshare }) => self.close_next(host, process, file, unshare),
            _ => self.idle(host, process),
        }
    }

    fn answered(
        &mut self,
        host: usize,
        process: usize,
        (wish, flag): (Wish, Option<(u64, u64)>),
        outcome: &Outcome,
        told: (u64, u64),
    ) {
        let (life, known) = (self.hosts[host].life, self.hosts[host].known_epoch);
        match outcome {
            // The server that said so is gone: ask its successor.
            Outcome::Granted if told.0 < known => self.ask(host, process, wish),
            Outcome::Granted => self.hold(host, process, wish.span, told),
            Outcome::Blocked => match flag.filter(|flag| flag.0 == told.0) {
                Some(flag) => self.hold(host, process, wish.span, flag),
                None if wish.wait.is_none() => self.fail(|| format!("h{host}/{process} blocked")),
                // A waiter of a server that is gone, and of which the client has heard that.
                None if told.0 < known => self.ask(host, process, wish),
                None => {
                    let job = self.job(host, process, Job::Blocked { wish });
                    if !self.hosts[host].protocol.is_connected() {
                        self.after(30_000, Event::Poll { host, life, process, job });
                    }
                }
            },
            Outcome::Grace { .. } => {
                let job = self.job(host, process, Job::Later { wish });
                self.after(5_000, Event::Poll { host, life, process, job });
            }
            _ => self.without(host, process, wish.span),
        }
    }

    pub fn poll(&mut self, host: usize, life: u32, process: usize, job: u64) {
        let it = &self.hosts[host];
        if it.life != life || !it.up || it.processes[process].jobs != job {
            return;
        }
        match it.processes[process].job {
            Job::Blocked { wish } => self.ask(host, process, wish),
            Job::Later { wish } if self.quiet => self.without(host, process, wish.span),
            Job::Later { .. } if it.reclaiming.is_some() => {
                self.after(200, Event::Poll { host, life, process, job });
            }
            Job::Later { wish } => self.ask(host, process, wish),
            _ => {}
        }
    }

    pub fn interrupt(&mut self, host: usize, life: u32, process: usize, episode: u64) {
        let it = &self.hosts[host];
        if it.life != life || !it.up {
            return;
        }
        if let Job::Blocked { wish: Wish { span, wait: Some(now), .. } } = it.processes[process].job
            && now == episode
        {
            self.job(host, process, Job::Cancelling { span, episode, took: false });
            self.request(host, process, Lane::Process(process), Body::Cancel { span });
        }
    }

    /// A process that is done may still have what a dead machine's records bring back, or what the
    /// server had to assume that it took.
    ///
    /// Who did not ask for deadlocks to be found may be in one: with a lock, say, that the server
    /// had to assume somebody took. Nobody but its user can end that.
    pub fn lose_patience(&mut self) {
        for host in 0..self.hosts.len() {
            for process in 0..self.hosts[host].processes.len() {
                let &Process { kind, job, .. } = &self.hosts[host].processes[process];
                let Some(server) = &self.server else { return };
                if job == Job::Over && self.strays && server.table.has((host, process)) {
                    self.idle(host, process);
                    continue;
                }
                if let (Kind::Whole, Job::Blocked { wish: Wish { wait: Some(episode), .. } }) =
                    (kind, job)
                    && server.table.is_deadlocked((host, process))
                {
                    self.interrupt(host, self.hosts[host].life, process, episode);
                }
            }
        }
    }

    /// NLM_GRANTED arrives. A client matches it to the request that waits: here by the cookie,
    /// since no server can help one that takes a grant meant for an earlier wish.
    pub fn called_back(&mut self, call: Callback) {
        let Callback { host, episode, epoch, stamp, .. } = call;
        let it = &mut self.hosts[host];
        if !it.is_reachable() {
            return self.undelivered(call);
        }
        if epoch < it.known_epoch {
            return;
        }
        let mut stat = Stat::Denied;
        let mut take = None;
        let plain = !it.protocol.is_connected();
        for (number, process) in it.processes.iter_mut().enumerate() {
            match &mut process.job {
                Job::Asking { wish: Wish { wait: Some(wait), .. }, flag } if *wait == episode => {
                    *flag = Some((epoch, stamp));
                    stat = Stat::Granted;
                }
                Job::Blocked { wish } if wish.wait == Some(episode) => {
                    take = Some((number, wish.span));
                    stat = Stat::Granted;
                }
                Job::Cancelling { episode: now, took, .. }
                    if *now == episode && self.rng.chance(500) =>
                {
                    *took = true;
                    stat = Stat::Granted;
                }
                _ => {}
            }
        }
        if plain && stat == Stat::Granted && take.is_some() && !self.quiet && self.rng.chance(50) {
            // A lock manager that has just started.
            return self.post(Message::CallbackAnswer(call, Stat::DeniedGrace));
        }
        if let Some((process, span)) = take {
            self.hold(host, process, span, (epoch, stamp));
        }
        self.post(Message::CallbackAnswer(call, stat));
    }

    /// The server has stopped waiting for the client.
    pub fn wait_over(&mut self, host: usize, episode: u64, epoch: u64) {
        let it = &self.hosts[host];
        if !it.is_reachable() || epoch < it.known_epoch {
            return;
        }
        for process in 0..it.processes.len() {
            let (wish, asking) = match self.hosts[host].processes[process].job {
                Job::Asking { wish, .. } => (wish, true),
                Job::Blocked { wish } => (wish, false),
                _ => continue,
            };
            if wish.wait == Some(episode) {
                if asking {
                    self.hosts[host].under_way.remove(&Lane::Process(process));
                }
                self.without(host, process, wish.span);
            }
        }
    }
}

//! What the driver takes from its inbox, and the core's input that it makes of it.

use std::sync::Arc;

use cleat_lock::{
    GrantAck, Input, LockId, LockRequest, Outcome, ShareRequest, Token, UpgradeRequest, Wait,
    WaiterId,
};
use uuid::Uuid;

use super::World;
use super::types::{Body, Inbound, Message, Reply, Request, Span, Wish, timeout_ms};

impl World {
    pub fn take(&mut self, inbound: Inbound) {
        let token = self.token();
        let input = match inbound {
            Inbound::Request(request) => return self.take_request(request),
            Inbound::GrantOutcome(waiter, outcome) => return self.take_word(waiter, outcome),
            Inbound::EndGrace => Input::EndGrace { token },
            Inbound::FreeHost(host) => return self.free_host(host),
            Inbound::Clear(order) => return self.clear(token, order),
            Inbound::ForgetHost(host) => return self.forget_host(host),
            Inbound::Reached(host) => self.reached(host),
            Inbound::Silent(host, since_ms) => {
                let client_id = Arc::clone(&self.names[host].client_id);
                Input::ClientSilent { client_id, since_ms }
            }
            // It may have a new connection.
            Inbound::Disconnected(host) if self.hosts[host].is_reachable() => return,
            Inbound::Disconnected(host) => return self.disconnected(host),
        };
        self.step(input);
    }

    /// What a client says to a grant. One that it takes back may pass a limit.
    fn take_word(&mut self, waiter: WaiterId, outcome: GrantAck) {
        self.note_recovering();
        let mut granted = self.server.iter().flat_map(|server| &server.table.waiters);
        let granted = granted.find(|it| it.waiter == waiter).map(|it| (it.who.0, it.span.file));
        self.step(Input::GrantOutcome { waiter, outcome });
        if let (Some(place), GrantAck::Accepted) = (granted, outcome) {
            self.check_limits(place, &waiter);
        }
    }

    fn note_recovering(&mut self) {
        let open = self.grace_open();
        if let Some(server) = &self.server {
            self.recovering = open || server.core.counters().unreclaimed > 0;
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn free_host(&mut self, host: usize) {
        let (token, client_id) = (self.token(), Arc::clone(&self.names[host].client_id));
        self.step(Input::FreeAll { token, client_id });
        self.check_cleared(host);
        self.hosts[host].cleared = self.steps;
        self.mark_lost(Some(host));
    }

    /// A host that had nothing for long is not watched any more.
    fn forget_host(&mut self, host: usize) {
        if self.grace_open() {
            return;
        }
        let (token, client_id) = (self.token(), Arc::clone(&self.names[host].client_id));
        let outcome = self.step(Input::ForgetClient { token, client_id });
        if let Some(server) = &mut self.server
            && !matches!(outcome, Some(Outcome::StillHolds { .. }))
        {
            server.gone.remove(&host);
        }
    }

    /// The server sees that a host has no connection.
    pub fn disconnected(&mut self, host: usize) {
        let client_id = &self.names[host].client_id;
        let Some(server) = &mut self.server else { return };
        if server.core.client(client_id).is_some() {
            server.gone.entry(host).or_insert(self.now_ms);
        }
        let client_id = Arc::clone(client_id);
        self.step(Input::Disconnected { client_id });
        let client_id = &self.names[host].client_id;
        let Some(server) = &mut self.server else { return };
        // One that lapsed in this very step has its time before it once more.
        if server.core.client(client_id).is_some_and(|client| client.lapses_ms.is_some()) {
            server.gone.entry(host).or_insert(self.now_ms);
        }
    }

    /// The server has released what a host had that stayed away.
    pub fn lapsed(&mut self, host: usize) {
        let (now_ms, ttl_ms) = (self.now_ms, self.ttl_ms);
        let Some(server) = &mut self.server else { return };
        let since_ms = server.gone.remove(&host);
        server.forget_grants(host);
        if since_ms.is_none_or(|since_ms| now_ms < since_ms + ttl_ms) {
            self.fail(|| format!("h{host} lapsed, gone since {since_ms:?}"));
        }
        if self.acting != Some(host) {
            self.check_cleared(host);
        }
        self.hosts[host].cleared = self.steps;
        self.mark_lost(Some(host));
    }

    /// Sessions answer a copy of their latest request from memory. Says whether this is one.
    fn is_replay(&mut self, request: &Request) -> bool {
        let Some(server) = &self.server else { return true };
        if !self.hosts[request.host].protocol.is_connected() {
            return false;
        }
        let same = |other: &Request| {
            let place = (other.host, other.life, other.lane, other.xid);
            place == (request.host, request.life, request.lane, request.xid)
        };
        let reply = server.replies.get(&(request.host, request.lane));
        if let Some(reply) = reply.filter(|reply| same(&reply.to)) {
            let reply = Reply { to: *request, ..reply.clone() };
            self.post(Message::Reply(reply));
            return true;
        }
        server.asked.values().any(same)
    }

    fn take_request(&mut self, request: Request) {
        if self.is_replay(&request) {
            return;
        }
        let token = self.token();
        let input = self.input(token, &request);
        let open = self.grace_open();
        self.note_recovering();
        if let Some(server) = &mut self.server {
            server.asked.insert(token, request);
            server.presence.asked(request.host, self.now_ms);
        }
        self.acting = Some(request.host);
        let outcome = self.step(input);
        self.acting = None;
        if let (Body::Lock { wish, .. }, Some(Outcome::Blocked)) = (request.body, &outcome) {
            self.blocked(&request, wish.span);
        }
        if let Some(server) = &mut self.server {
            server.gone.remove(&request.host);
        }
        self.check_answer(&request, outcome.as_ref(), open);
    }

    fn input(&self, token: Token, request: &Request) -> Input {
        let &Request { host, life: incarnation, process, body, .. } = request;
        let names = &self.names[host];
        let owner = names.owners[process].clone();
        let file = |file: usize| self.files_known[file].clone();
        let id = LockId::new(Uuid::from_u128(u128::from(self.tokens)));
        match body {
            Body::Lock { wish, find_deadlock } => {
                self.wished(token, id, request, wish, find_deadlock)
            }
            Body::Reclaim { span } => {
                let request = self.plain(token, id, request, span);
                Input::Lock(LockRequest { reclaim: true, ..request })
            }
            Body::Unlock { span } => {
                Input::Unlock { token, id, owner, file: file(span.file), range: span.range() }
            }
            Body::Cancel { span } => {
                let (range, mode) = (span.range(), span.mode);
                Input::Cancel { token, owner, file: file(span.file), range, mode }
            }
            Body::Test { span } => {
                let (range, mode) = (span.range(), span.mode);
                Input::Test { token, owner, file: file(span.file), range, mode }
            }
            Body::Share { file: on, deal, reclaim } => {
                let (file, access, deny) = (file(on), deal.access, deal.deny);
                let contact = Arc::clone(&self.contact);
                let request = ShareRequest {
                    token,
                    owner,
                    file,
                    access,
                    deny,
                    reclaim,
                    incarnation,
                    contact,
                };
                Input::Share(request)
            }
            Body::Unshare { file: on } => Input::Unshare { token, owner, file: file(on) },
            Body::Restarted => {
                let client_id = Arc::clone(&names.client_id);
                Input::ClientRestarted { token, client_id, incarnation }
            }
            Body::Register => {
                let (client_id, contact) =
                    (Arc::clone(&names.client_id), Arc::clone(&self.contact));
                Input::Register { token, client_id, incarnation, contact }
            }
        }
    }

    /// A plain lock that does not wait.
    fn plain(&self, token: Token, id: LockId, request: &Request, span: Span) -> LockRequest {
        LockRequest {
            token,
            id,
            owner: self.names[request.host].owners[request.process].clone(),
            file: self.files_known[span.file].clone(),
            range: span.range(),
            mode: span.mode,
            wait: None,
            reclaim: false,
            incarnation: request.life,
            contact: Arc::clone(&self.contact),
        }
    }

    fn wished(
        &self,
        token: Token,
        id: LockId,
        request: &Request,
        wish: Wish,
        find_deadlock: bool,
    ) -> Input {
        let connected = self.hosts[request.host].protocol.is_connected();
        let silence_ms = if connected { 0 } else { self.silence_ms };
        let wait = wish.wait.map(|episode| Wait {
            context: Arc::from(&episode.to_be_bytes()[..]),
            silence_ms,
            timeout_ms: if connected { timeout_ms(episode) } else { Some(0) },
            find_deadlock,
        });
        let LockRequest { owner, file, range, incarnation, contact, mode, reclaim, .. } =
            self.plain(token, id, request, wish.span);
        if wish.upgrade {
            return Input::Upgrade(UpgradeRequest {
                token,
                id,
                owner,
                file,
                range,
                wait,
                incarnation,
                contact,
            });
        }
        Input::Lock(LockRequest {
            token,
            id,
            owner,
            file,
            range,
            mode,
            wait,
            reclaim,
            incarnation,
            contact,
        })
    }
}

//! What `xdrgen` 0.4.4 makes of `nlm.x`, then rustfmt: do not edit. `xdrgen nlm.x` writes it.

pub const LM_MAXNETOBJ: i64 = 1024i64;

pub const LM_MAXSTRLEN: i64 = 1024i64;

pub const SM_MAXSTRLEN: i64 = 1024i64;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum fsh4_access {
    fsa4_NONE = 0isize,
    fsa4_R = 1isize,
    fsa4_W = 2isize,
    fsa4_RW = 3isize,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum fsh4_mode {
    fsm4_DN = 0isize,
    fsm4_DR = 1isize,
    fsm4_DW = 2isize,
    fsm4_DRW = 3isize,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum fsh_access {
    fsa_NONE = 0isize,
    fsa_R = 1isize,
    fsa_W = 2isize,
    fsa_RW = 3isize,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum fsh_mode {
    fsm_DN = 0isize,
    fsm_DR = 1isize,
    fsm_DW = 2isize,
    fsm_DRW = 3isize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct netobj(pub Vec<u8>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_cancargs {
    pub cookie: netobj,
    pub block: bool,
    pub exclusive: bool,
    pub alock: nlm4_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_holder {
    pub exclusive: bool,
    pub svid: u32,
    pub oh: netobj,
    pub l_offset: u64,
    pub l_len: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_lock {
    pub caller_name: Vec<u8>,
    pub fh: netobj,
    pub oh: netobj,
    pub svid: u32,
    pub l_offset: u64,
    pub l_len: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_lockargs {
    pub cookie: netobj,
    pub block: bool,
    pub exclusive: bool,
    pub alock: nlm4_lock,
    pub reclaim: bool,
    pub state: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_notify {
    pub name: Vec<u8>,
    pub state: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_res {
    pub cookie: netobj,
    pub stat: nlm4_stat,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_share {
    pub caller_name: Vec<u8>,
    pub fh: netobj,
    pub oh: netobj,
    pub mode: fsh4_mode,
    pub access: fsh4_access,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_shareargs {
    pub cookie: netobj,
    pub share: nlm4_share,
    pub reclaim: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_shareres {
    pub cookie: netobj,
    pub stat: nlm4_stats,
    pub sequence: i32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct nlm4_stat {
    pub stat: nlm4_stats,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum nlm4_stats {
    NLM4_GRANTED = 0isize,
    NLM4_DENIED = 1isize,
    NLM4_DENIED_NOLOCKS = 2isize,
    NLM4_BLOCKED = 3isize,
    NLM4_DENIED_GRACE_PERIOD = 4isize,
    NLM4_DEADLCK = 5isize,
    NLM4_ROFS = 6isize,
    NLM4_STALE_FH = 7isize,
    NLM4_FBIG = 8isize,
    NLM4_FAILED = 9isize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_testargs {
    pub cookie: netobj,
    pub exclusive: bool,
    pub alock: nlm4_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_testres {
    pub cookie: netobj,
    pub test_stat: nlm4_testrply,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum nlm4_testrply {
    NLM4_DENIED(nlm4_holder),
    NLM4_GRANTED,
    NLM4_DENIED_NOLOCKS,
    NLM4_BLOCKED,
    NLM4_DENIED_GRACE_PERIOD,
    NLM4_DEADLCK,
    NLM4_ROFS,
    NLM4_STALE_FH,
    NLM4_FBIG,
    NLM4_FAILED,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm4_unlockargs {
    pub cookie: netobj,
    pub alock: nlm4_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_cancargs {
    pub cookie: netobj,
    pub block: bool,
    pub exclusive: bool,
    pub alock: nlm_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_holder {
    pub exclusive: bool,
    pub svid: i32,
    pub oh: netobj,
    pub l_offset: u32,
    pub l_len: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_lock {
    pub caller_name: Vec<u8>,
    pub fh: netobj,
    pub oh: netobj,
    pub svid: i32,
    pub l_offset: u32,
    pub l_len: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_lockargs {
    pub cookie: netobj,
    pub block: bool,
    pub exclusive: bool,
    pub alock: nlm_lock,
    pub reclaim: bool,
    pub state: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_notify {
    pub name: Vec<u8>,
    pub state: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_res {
    pub cookie: netobj,
    pub stat: nlm_stat,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_share {
    pub caller_name: Vec<u8>,
    pub fh: netobj,
    pub oh: netobj,
    pub mode: fsh_mode,
    pub access: fsh_access,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_shareargs {
    pub cookie: netobj,
    pub share: nlm_share,
    pub reclaim: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_shareres {
    pub cookie: netobj,
    pub stat: nlm_stats,
    pub sequence: i32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct nlm_stat {
    pub stat: nlm_stats,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum nlm_stats {
    LCK_GRANTED = 0isize,
    LCK_DENIED = 1isize,
    LCK_DENIED_NOLOCKS = 2isize,
    LCK_BLOCKED = 3isize,
    LCK_DENIED_GRACE_PERIOD = 4isize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_testargs {
    pub cookie: netobj,
    pub exclusive: bool,
    pub alock: nlm_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_testres {
    pub cookie: netobj,
    pub test_stat: nlm_testrply,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum nlm_testrply {
    LCK_DENIED(nlm_holder),
    LCK_GRANTED,
    LCK_DENIED_NOLOCKS,
    LCK_BLOCKED,
    LCK_DENIED_GRACE_PERIOD,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_unlockargs {
    pub cookie: netobj,
    pub alock: nlm_lock,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct sm_name {
    pub mon_name: Vec<u8>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum sm_res {
    STAT_SUCC = 0isize,
    STAT_FAIL = 1isize,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct sm_stat_res {
    pub res_stat: sm_res,
    pub state: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct stat_chge {
    pub mon_name: Vec<u8>,
    pub state: i32,
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for fsh4_access {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for fsh4_mode {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for fsh_access {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for fsh_mode {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for netobj {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.0, Some(LM_MAXNETOBJ as usize), out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_cancargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)?
            + self.block.pack(out)?
            + self.exclusive.pack(out)?
            + self.alock.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_holder {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.exclusive.pack(out)?
            + self.svid.pack(out)?
            + self.oh.pack(out)?
            + self.l_offset.pack(out)?
            + self.l_len.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_lock {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.caller_name, Some(LM_MAXSTRLEN as usize), out)?
            + self.fh.pack(out)?
            + self.oh.pack(out)?
            + self.svid.pack(out)?
            + self.l_offset.pack(out)?
            + self.l_len.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_lockargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)?
            + self.block.pack(out)?
            + self.exclusive.pack(out)?
            + self.alock.pack(out)?
            + self.reclaim.pack(out)?
            + self.state.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_notify {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.name, Some(LM_MAXSTRLEN as usize), out)?
            + self.state.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_res {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_share {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.caller_name, Some(LM_MAXSTRLEN as usize), out)?
            + self.fh.pack(out)?
            + self.oh.pack(out)?
            + self.mode.pack(out)?
            + self.access.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_shareargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.share.pack(out)? + self.reclaim.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_shareres {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.stat.pack(out)? + self.sequence.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_stat {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_stats {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_testargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.exclusive.pack(out)? + self.alock.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_testres {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.test_stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_testrply {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(match self {
            &nlm4_testrply::NLM4_DENIED(ref val) => {
                (nlm4_stats::NLM4_DENIED as i32).pack(out)? + val.pack(out)?
            }
            &nlm4_testrply::NLM4_GRANTED => (nlm4_stats::NLM4_GRANTED as i32).pack(out)?,
            &nlm4_testrply::NLM4_DENIED_NOLOCKS => {
                (nlm4_stats::NLM4_DENIED_NOLOCKS as i32).pack(out)?
            }
            &nlm4_testrply::NLM4_BLOCKED => (nlm4_stats::NLM4_BLOCKED as i32).pack(out)?,
            &nlm4_testrply::NLM4_DENIED_GRACE_PERIOD => {
                (nlm4_stats::NLM4_DENIED_GRACE_PERIOD as i32).pack(out)?
            }
            &nlm4_testrply::NLM4_DEADLCK => (nlm4_stats::NLM4_DEADLCK as i32).pack(out)?,
            &nlm4_testrply::NLM4_ROFS => (nlm4_stats::NLM4_ROFS as i32).pack(out)?,
            &nlm4_testrply::NLM4_STALE_FH => (nlm4_stats::NLM4_STALE_FH as i32).pack(out)?,
            &nlm4_testrply::NLM4_FBIG => (nlm4_stats::NLM4_FBIG as i32).pack(out)?,
            &nlm4_testrply::NLM4_FAILED => (nlm4_stats::NLM4_FAILED as i32).pack(out)?,
        })
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm4_unlockargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.alock.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_cancargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)?
            + self.block.pack(out)?
            + self.exclusive.pack(out)?
            + self.alock.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_holder {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.exclusive.pack(out)?
            + self.svid.pack(out)?
            + self.oh.pack(out)?
            + self.l_offset.pack(out)?
            + self.l_len.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_lock {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.caller_name, Some(LM_MAXSTRLEN as usize), out)?
            + self.fh.pack(out)?
            + self.oh.pack(out)?
            + self.svid.pack(out)?
            + self.l_offset.pack(out)?
            + self.l_len.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_lockargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)?
            + self.block.pack(out)?
            + self.exclusive.pack(out)?
            + self.alock.pack(out)?
            + self.reclaim.pack(out)?
            + self.state.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_notify {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.name, Some(LM_MAXSTRLEN as usize), out)?
            + self.state.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_res {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_share {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.caller_name, Some(LM_MAXSTRLEN as usize), out)?
            + self.fh.pack(out)?
            + self.oh.pack(out)?
            + self.mode.pack(out)?
            + self.access.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_shareargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.share.pack(out)? + self.reclaim.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_shareres {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.stat.pack(out)? + self.sequence.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_stat {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_stats {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_testargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.exclusive.pack(out)? + self.alock.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_testres {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.test_stat.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_testrply {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(match self {
            &nlm_testrply::LCK_DENIED(ref val) => {
                (nlm_stats::LCK_DENIED as i32).pack(out)? + val.pack(out)?
            }
            &nlm_testrply::LCK_GRANTED => (nlm_stats::LCK_GRANTED as i32).pack(out)?,
            &nlm_testrply::LCK_DENIED_NOLOCKS => {
                (nlm_stats::LCK_DENIED_NOLOCKS as i32).pack(out)?
            }
            &nlm_testrply::LCK_BLOCKED => (nlm_stats::LCK_BLOCKED as i32).pack(out)?,
            &nlm_testrply::LCK_DENIED_GRACE_PERIOD => {
                (nlm_stats::LCK_DENIED_GRACE_PERIOD as i32).pack(out)?
            }
        })
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_unlockargs {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.cookie.pack(out)? + self.alock.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for sm_name {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.mon_name, Some(SM_MAXSTRLEN as usize), out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for sm_res {
    #[inline]
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok((*self as i32).pack(out)?)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for sm_stat_res {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.res_stat.pack(out)? + self.state.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for stat_chge {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.mon_name, Some(SM_MAXSTRLEN as usize), out)?
            + self.state.pack(out)?
            + 0)
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for fsh4_access {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(fsh4_access, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == fsh4_access::fsa4_NONE as i32 => fsh4_access::fsa4_NONE,
                    x if x == fsh4_access::fsa4_R as i32 => fsh4_access::fsa4_R,
                    x if x == fsh4_access::fsa4_W as i32 => fsh4_access::fsa4_W,
                    x if x == fsh4_access::fsa4_RW as i32 => fsh4_access::fsa4_RW,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for fsh4_mode {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(fsh4_mode, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == fsh4_mode::fsm4_DN as i32 => fsh4_mode::fsm4_DN,
                    x if x == fsh4_mode::fsm4_DR as i32 => fsh4_mode::fsm4_DR,
                    x if x == fsh4_mode::fsm4_DW as i32 => fsh4_mode::fsm4_DW,
                    x if x == fsh4_mode::fsm4_DRW as i32 => fsh4_mode::fsm4_DRW,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for fsh_access {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(fsh_access, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == fsh_access::fsa_NONE as i32 => fsh_access::fsa_NONE,
                    x if x == fsh_access::fsa_R as i32 => fsh_access::fsa_R,
                    x if x == fsh_access::fsa_W as i32 => fsh_access::fsa_W,
                    x if x == fsh_access::fsa_RW as i32 => fsh_access::fsa_RW,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for fsh_mode {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(fsh_mode, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == fsh_mode::fsm_DN as i32 => fsh_mode::fsm_DN,
                    x if x == fsh_mode::fsm_DR as i32 => fsh_mode::fsm_DR,
                    x if x == fsh_mode::fsm_DW as i32 => fsh_mode::fsm_DW,
                    x if x == fsh_mode::fsm_DRW as i32 => fsh_mode::fsm_DRW,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for netobj {
    fn unpack(input: &mut In) -> xdr_codec::Result<(netobj, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (v, usz) = xdr_codec::unpack_opaque_flex(input, Some(LM_MAXNETOBJ as usize))?;
                sz = usz;
                netobj(v)
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_cancargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_cancargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_cancargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                block: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_holder {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_holder, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_holder {
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                svid: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_offset: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_len: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_lock {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_lock, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_lock {
                caller_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                fh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                svid: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_offset: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_len: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_lockargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_lockargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_lockargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                block: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                reclaim: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_notify {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_notify, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_notify {
                name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_res {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_res, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_res {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_share {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_share, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_share {
                caller_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                fh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                mode: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                access: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_shareargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_shareargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_shareargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                share: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                reclaim: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_shareres {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_shareres, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_shareres {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                sequence: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_stat {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_stat, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_stat {
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_stats {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_stats, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == nlm4_stats::NLM4_GRANTED as i32 => nlm4_stats::NLM4_GRANTED,
                    x if x == nlm4_stats::NLM4_DENIED as i32 => nlm4_stats::NLM4_DENIED,
                    x if x == nlm4_stats::NLM4_DENIED_NOLOCKS as i32 => {
                        nlm4_stats::NLM4_DENIED_NOLOCKS
                    }
                    x if x == nlm4_stats::NLM4_BLOCKED as i32 => nlm4_stats::NLM4_BLOCKED,
                    x if x == nlm4_stats::NLM4_DENIED_GRACE_PERIOD as i32 => {
                        nlm4_stats::NLM4_DENIED_GRACE_PERIOD
                    }
                    x if x == nlm4_stats::NLM4_DEADLCK as i32 => nlm4_stats::NLM4_DEADLCK,
                    x if x == nlm4_stats::NLM4_ROFS as i32 => nlm4_stats::NLM4_ROFS,
                    x if x == nlm4_stats::NLM4_STALE_FH as i32 => nlm4_stats::NLM4_STALE_FH,
                    x if x == nlm4_stats::NLM4_FBIG as i32 => nlm4_stats::NLM4_FBIG,
                    x if x == nlm4_stats::NLM4_FAILED as i32 => nlm4_stats::NLM4_FAILED,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_testargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_testargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_testargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_testres {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_testres, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_testres {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                test_stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_testrply {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_testrply, usize)> {
        let mut sz = 0;
        Ok((
            match {
                let (v, dsz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += dsz;
                v
            } {
                x if x == (1i32 as i32) => nlm4_testrply::NLM4_DENIED({
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                }),
                x if x == (0i32 as i32) => nlm4_testrply::NLM4_GRANTED,
                x if x == (2i32 as i32) => nlm4_testrply::NLM4_DENIED_NOLOCKS,
                x if x == (3i32 as i32) => nlm4_testrply::NLM4_BLOCKED,
                x if x == (4i32 as i32) => nlm4_testrply::NLM4_DENIED_GRACE_PERIOD,
                x if x == (5i32 as i32) => nlm4_testrply::NLM4_DEADLCK,
                x if x == (6i32 as i32) => nlm4_testrply::NLM4_ROFS,
                x if x == (7i32 as i32) => nlm4_testrply::NLM4_STALE_FH,
                x if x == (8i32 as i32) => nlm4_testrply::NLM4_FBIG,
                x if x == (9i32 as i32) => nlm4_testrply::NLM4_FAILED,
                v => return Err(xdr_codec::Error::invalidcase(v as i32)),
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm4_unlockargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm4_unlockargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm4_unlockargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_cancargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_cancargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm_cancargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                block: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_holder {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_holder, usize)> {
        let mut sz = 0;
        Ok((
            nlm_holder {
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                svid: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_offset: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_len: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_lock {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_lock, usize)> {
        let mut sz = 0;
        Ok((
            nlm_lock {
                caller_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                fh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                svid: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_offset: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                l_len: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_lockargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_lockargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm_lockargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                block: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                reclaim: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_notify {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_notify, usize)> {
        let mut sz = 0;
        Ok((
            nlm_notify {
                name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_res {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_res, usize)> {
        let mut sz = 0;
        Ok((
            nlm_res {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_share {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_share, usize)> {
        let mut sz = 0;
        Ok((
            nlm_share {
                caller_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(LM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                fh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                oh: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                mode: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                access: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_shareargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_shareargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm_shareargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                share: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                reclaim: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_shareres {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_shareres, usize)> {
        let mut sz = 0;
        Ok((
            nlm_shareres {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                sequence: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_stat {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_stat, usize)> {
        let mut sz = 0;
        Ok((
            nlm_stat {
                stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_stats {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_stats, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == nlm_stats::LCK_GRANTED as i32 => nlm_stats::LCK_GRANTED,
                    x if x == nlm_stats::LCK_DENIED as i32 => nlm_stats::LCK_DENIED,
                    x if x == nlm_stats::LCK_DENIED_NOLOCKS as i32 => nlm_stats::LCK_DENIED_NOLOCKS,
                    x if x == nlm_stats::LCK_BLOCKED as i32 => nlm_stats::LCK_BLOCKED,
                    x if x == nlm_stats::LCK_DENIED_GRACE_PERIOD as i32 => {
                        nlm_stats::LCK_DENIED_GRACE_PERIOD
                    }
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_testargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_testargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm_testargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                exclusive: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_testres {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_testres, usize)> {
        let mut sz = 0;
        Ok((
            nlm_testres {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                test_stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_testrply {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_testrply, usize)> {
        let mut sz = 0;
        Ok((
            match {
                let (v, dsz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += dsz;
                v
            } {
                x if x == (1i32 as i32) => nlm_testrply::LCK_DENIED({
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                }),
                x if x == (0i32 as i32) => nlm_testrply::LCK_GRANTED,
                x if x == (2i32 as i32) => nlm_testrply::LCK_DENIED_NOLOCKS,
                x if x == (3i32 as i32) => nlm_testrply::LCK_BLOCKED,
                x if x == (4i32 as i32) => nlm_testrply::LCK_DENIED_GRACE_PERIOD,
                v => return Err(xdr_codec::Error::invalidcase(v as i32)),
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_unlockargs {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_unlockargs, usize)> {
        let mut sz = 0;
        Ok((
            nlm_unlockargs {
                cookie: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                alock: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for sm_name {
    fn unpack(input: &mut In) -> xdr_codec::Result<(sm_name, usize)> {
        let mut sz = 0;
        Ok((
            sm_name {
                mon_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(SM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for sm_res {
    #[inline]
    fn unpack(input: &mut In) -> xdr_codec::Result<(sm_res, usize)> {
        let mut sz = 0;
        Ok((
            {
                let (e, esz): (i32, _) = xdr_codec::Unpack::unpack(input)?;
                sz += esz;
                match e {
                    x if x == sm_res::STAT_SUCC as i32 => sm_res::STAT_SUCC,
                    x if x == sm_res::STAT_FAIL as i32 => sm_res::STAT_FAIL,
                    e => return Err(xdr_codec::Error::invalidenum(e)),
                }
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for sm_stat_res {
    fn unpack(input: &mut In) -> xdr_codec::Result<(sm_stat_res, usize)> {
        let mut sz = 0;
        Ok((
            sm_stat_res {
                res_stat: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for stat_chge {
    fn unpack(input: &mut In) -> xdr_codec::Result<(stat_chge, usize)> {
        let mut sz = 0;
        Ok((
            stat_chge {
                mon_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(SM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                state: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

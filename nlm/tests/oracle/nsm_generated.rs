//! What `xdrgen` 0.4.4 makes of `nsm.x`, then rustfmt: do not edit. `xdrgen nsm.x` writes it.

pub const SM_MAXSTRLEN: i64 = 1024i64;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct mon {
    pub id: mon_id,
    pub private: priv_words,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct mon_id {
    pub mon_name: Vec<u8>,
    pub id: my_id,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct my_id {
    pub my_name: Vec<u8>,
    pub my_prog: i32,
    pub my_vers: i32,
    pub my_proc: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct nlm_sm_status {
    pub mon_name: Vec<u8>,
    pub state: i32,
    pub private: priv_words,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct priv_words {
    pub a: u32,
    pub b: u32,
    pub c: u32,
    pub d: u32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct sm_stat {
    pub state: i32,
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for mon {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.id.pack(out)? + self.private.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for mon_id {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.mon_name, Some(SM_MAXSTRLEN as usize), out)?
            + self.id.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for my_id {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.my_name, Some(SM_MAXSTRLEN as usize), out)?
            + self.my_prog.pack(out)?
            + self.my_vers.pack(out)?
            + self.my_proc.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for nlm_sm_status {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(xdr_codec::pack_opaque_flex(&self.mon_name, Some(SM_MAXSTRLEN as usize), out)?
            + self.state.pack(out)?
            + self.private.pack(out)?
            + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for priv_words {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.a.pack(out)? + self.b.pack(out)? + self.c.pack(out)? + self.d.pack(out)? + 0)
    }
}

impl<Out: xdr_codec::Write> xdr_codec::Pack<Out> for sm_stat {
    fn pack(&self, out: &mut Out) -> xdr_codec::Result<usize> {
        Ok(self.state.pack(out)? + 0)
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for mon {
    fn unpack(input: &mut In) -> xdr_codec::Result<(mon, usize)> {
        let mut sz = 0;
        Ok((
            mon {
                id: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                private: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for mon_id {
    fn unpack(input: &mut In) -> xdr_codec::Result<(mon_id, usize)> {
        let mut sz = 0;
        Ok((
            mon_id {
                mon_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(SM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                id: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for my_id {
    fn unpack(input: &mut In) -> xdr_codec::Result<(my_id, usize)> {
        let mut sz = 0;
        Ok((
            my_id {
                my_name: {
                    let (v, fsz) =
                        xdr_codec::unpack_opaque_flex(input, Some(SM_MAXSTRLEN as usize))?;
                    sz += fsz;
                    v
                },
                my_prog: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                my_vers: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                my_proc: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for nlm_sm_status {
    fn unpack(input: &mut In) -> xdr_codec::Result<(nlm_sm_status, usize)> {
        let mut sz = 0;
        Ok((
            nlm_sm_status {
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
                private: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for priv_words {
    fn unpack(input: &mut In) -> xdr_codec::Result<(priv_words, usize)> {
        let mut sz = 0;
        Ok((
            priv_words {
                a: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                b: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                c: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
                d: {
                    let (v, fsz) = xdr_codec::Unpack::unpack(input)?;
                    sz += fsz;
                    v
                },
            },
            sz,
        ))
    }
}

impl<In: xdr_codec::Read> xdr_codec::Unpack<In> for sm_stat {
    fn unpack(input: &mut In) -> xdr_codec::Result<(sm_stat, usize)> {
        let mut sz = 0;
        Ok((
            sm_stat {
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

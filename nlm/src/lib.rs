//! NLM and NSM: what lock clients say, as lock requests; what the core decides, as wire results.

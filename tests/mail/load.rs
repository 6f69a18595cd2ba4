//! The real program between clients and a next hop that fail at random, and under `kill -9`: nothing is lost, nothing comes
//! by halves, nothing comes twice but for the lost reply of RFC 1047.
//!
//! `LINKGATE_SOAK_S=1800 LINKGATE_BINARY=$PWD/target/release/linkgate cargo test --test tests load::soak -- --ignored --nocapture`
//! runs a release build for half an hour and prints the memory in use; `LINKGATE_SEED` repeats a run as far as timing lets it.

mod clients;
mod ledger;
mod mails;
mod next_hop;
mod program;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::clients::Clients;
use self::ledger::Ledger;
use self::next_hop::{Dialect, NextHop};
use self::program::Program;

/// What may go wrong, in events per thousand steps.
#[derive(Debug, Clone, Copy)]
struct Faults {
    next_hop: u32,
    client: u32,
}

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed tells the run.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64, of: u64) -> Self {
        let mut dice = Self((seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..8 {
            dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn permille(&mut self, n: u32) -> bool {
        self.below(1000) < u64::from(n)
    }
}

fn seed() -> u64 {
    let given = std::env::var("LINKGATE_SEED").ok().and_then(|s| s.parse().ok());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = given.unwrap_or(now);
    println!("LINKGATE_SEED={seed}");
    seed
}

/// One run: clients send for `time`, the program is killed each `kill_every`, then all is compared.
struct Run {
    time: Duration,
    clients: usize,
    faults: Faults,
    kill_every: Option<Duration>,
    /// Milliseconds that a client rests between two messages, at most.
    rest: u64,
}

impl Run {
    fn go(&self) -> ledger::Sums {
        let seed = seed();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let ledger = Arc::new(Ledger::default());
        let smtp = runtime.block_on(NextHop::start(
            Dialect::Smtp,
            self.faults.next_hop,
            seed,
            ledger.clone(),
        ));
        let lmtp = runtime.block_on(NextHop::start(
            Dialect::Lmtp,
            self.faults.next_hop,
            seed + 1,
            ledger.clone(),
        ));
        let mut program = Program::start(smtp.port(), lmtp.port());
        let clients = Clients::start(
            &runtime,
            program.listeners(),
            self.clients,
            self.faults.client,
            self.rest,
            seed,
            &ledger,
        );
        let began = Instant::now();
        let mut dice = Dice::new(seed, 99);
        let mut next_kill = self.kill_every.map(|every| began + every);
        let mut last_said = began;
        let (mut peak, mut early) = (0, None);
        while began.elapsed() < self.time {
            std::thread::sleep(Duration::from_millis(20));
            if next_kill.is_some_and(|at| Instant::now() >= at) {
                program.kill_and_restart();
                let pause = self.kill_every.unwrap().as_millis() as u64;
                next_kill = Some(Instant::now() + Duration::from_millis(pause / 2 + dice.below(pause)));
            }
            if last_said.elapsed() > Duration::from_secs(10) {
                last_said = Instant::now();
                let resident = program.resident_kib();
                peak = peak.max(resident);
                // The first minute fills buffers and pools.
                if began.elapsed() > Duration::from_secs(60) {
                    early.get_or_insert(resident);
                }
                println!(
                    "{:5} s  {resident:7} KiB resident  {}",
                    began.elapsed().as_secs(),
                    ledger.sums()
                );
            }
            program.assert_running();
        }
        runtime.block_on(clients.stop());
        // What the program still gives to its next hops after its clients have gone.
        std::thread::sleep(Duration::from_secs(1));
        let resident = program.resident_kib();
        println!(
            "end      {resident:7} KiB resident, peak {peak}, after a minute {early:?}  {}",
            ledger.sums()
        );
        program.stop();
        runtime.shutdown_timeout(Duration::from_secs(1));
        ledger.judge()
    }
}

#[test]
fn random_faults_lose_nothing() {
    let sums = Run {
        time: Duration::from_secs(12),
        clients: 12,
        faults: Faults {
            next_hop: 12,
            client: 8,
        },
        kill_every: None,
        rest: 0,
    }
    .go();
    assert!(
        sums.accepted > 100 && sums.refused > 10 && sums.aborted > 5,
        "too little happened: {sums}"
    );
}

#[test]
fn kill_nine_under_load_loses_nothing() {
    let sums = Run {
        time: Duration::from_secs(12),
        clients: 12,
        faults: Faults { next_hop: 0, client: 0 },
        kill_every: Some(Duration::from_millis(800)),
        rest: 0,
    }
    .go();
    assert!(sums.accepted > 100 && sums.unknown > 5, "too little happened: {sums}");
}

#[test]
#[ignore = "as long as LINKGATE_SOAK_S says"]
fn soak() {
    let seconds = std::env::var("LINKGATE_SOAK_S").map_or(60, |s| s.parse().unwrap());
    Run {
        time: Duration::from_secs(seconds),
        clients: 16,
        faults: Faults { next_hop: 4, client: 4 },
        kill_every: None,
        rest: 100,
    }
    .go();
}

use std::time::Duration;

use domain::{Elements, Time};
use engine::fake::Fake;
use engine::{Engine, Options as EngineOptions};
use futures::poll;

use super::*;

/// A pool of one session over a model of the fake engine.
struct Bench {
    fake: Fake,
    clock: Clock,
    pool: Option<Pool>,
    ended: oneshot::Receiver<()>,
}

fn bench(model: &str) -> Bench {
    let fake = Fake::default();
    let source = Fake::model(model);
    let loaded = fake
        .load(&source, &EngineOptions::one_thread())
        .expect("a model that loads");
    let session = loaded.session().expect("a session");
    let (sender, ended) = oneshot::channel();
    let clock = Clock::start();
    let limits = batch::Limits {
        rows_max: 4,
        delay_max: Duration::ZERO,
        rows_waiting_max: 8,
    };
    let options = Options {
        model: "m:1".to_owned(),
        instances: 1,
        limits,
        grouping: Grouping::new(loaded.signature(), None),
        clock,
        tasks: Tasks::default(),
    };
    let pool = Pool::start(loaded.as_ref(), session, options, sender).expect("a pool");
    Bench {
        fake,
        clock,
        pool: Some(pool),
        ended,
    }
}

const COPY: &str = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy";
const HELD: &str = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy\nhold";

fn job(rows: usize, first: f32) -> Job {
    let numbers: Vec<f32> = (0..rows * 2).map(|it| first + it as f32).collect();
    let tensor = Tensor::new(vec![rows, 2], Elements::from_slice(&numbers)).expect("fits");
    Job {
        inputs: vec![tensor].into(),
        outputs: vec![0],
        rows,
        asked: Time(0),
        deadline: Time::NEVER,
    }
}

impl Bench {
    fn pool(&self) -> &Pool {
        self.pool.as_ref().expect("not dropped yet")
    }

    fn grow(&self, model: &str, instances: usize) {
        let source = Fake::model(model);
        let loaded = self.fake.load(&source, &EngineOptions::one_thread());
        let loaded = loaded.expect("a model that loads");
        let grown = self.pool().grow(instances, || loaded.session());
        grown.expect("sessions");
    }

    fn wait_until_held(&self) {
        self.fake.wait_until_held(1);
    }
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let bench = bench(COPY);
    let done = bench.pool().run(job(2, 5.0)).await.expect("an answer");
    assert_eq!(done.outputs, *job(2, 5.0).inputs);
    assert_eq!(done.timing.run_rows, 2);
}

#[tokio::test]
async fn what_waits_while_a_session_is_busy_shares_the_next_run() {
    let bench = bench(HELD);
    let mut first = std::pin::pin!(bench.pool().run(job(1, 1.0)));
    assert!(poll!(first.as_mut()).is_pending());
    bench.wait_until_held();
    let mut second = std::pin::pin!(bench.pool().run(job(1, 2.0)));
    let mut third = std::pin::pin!(bench.pool().run(job(2, 3.0)));
    let mut fourth = std::pin::pin!(bench.pool().run(job(2, 4.0)));
    assert!(poll!(second.as_mut()).is_pending());
    assert!(poll!(third.as_mut()).is_pending());
    assert!(poll!(fourth.as_mut()).is_pending());
    assert_eq!(bench.pool().rows_waiting(), 5);
    bench.fake.release(3);
    for (future, rows, number) in [
        (first, 1, 1.0),
        (second, 1, 2.0),
        (third, 2, 3.0),
        (fourth, 2, 4.0),
    ] {
        let done = future.await.expect("an answer");
        assert_eq!(done.outputs, *job(rows, number).inputs);
    }
    assert_eq!(bench.fake.runs(), [1, 3, 2]);
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_ended_and_the_next_one_answers() {
    let bench = bench(HELD);
    {
        let mut gone = Box::pin(bench.pool().run(job(1, 1.0)));
        assert!(poll!(gone.as_mut()).is_pending());
        bench.wait_until_held();
    }
    bench.fake.release(1);
    let done = bench.pool().run(job(1, 2.0)).await.expect("an answer");
    assert_eq!(done.outputs, *job(1, 2.0).inputs);
}

#[tokio::test]
async fn what_is_gone_or_late_before_its_run_is_never_run() {
    let bench = bench(HELD);
    let mut first = Box::pin(bench.pool().run(job(1, 1.0)));
    assert!(poll!(first.as_mut()).is_pending());
    bench.wait_until_held();
    let mut gone = Box::pin(bench.pool().run(job(1, 2.0)));
    assert!(poll!(gone.as_mut()).is_pending());
    drop(gone);
    let late = Job {
        deadline: bench.clock.now(),
        ..job(1, 3.0)
    };
    let refusal = bench.pool().run(late).await.expect_err("too late");
    assert!(
        matches!(refusal, Refusal::DeadlinePassed { .. }),
        "{refusal}"
    );
    bench.fake.release(2);
    first.await.expect("an answer");
    bench.pool().run(job(1, 4.0)).await.expect("an answer");
    assert_eq!(bench.fake.runs(), [1, 1]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let bench = bench(HELD);
    let mut first = Box::pin(bench.pool().run(job(1, 1.0)));
    assert!(poll!(first.as_mut()).is_pending());
    bench.wait_until_held();
    let mut waiting = Box::pin(bench.pool().run(job(8, 2.0)));
    assert!(poll!(waiting.as_mut()).is_pending());
    let refusal = bench.pool().run(job(1, 3.0)).await.expect_err("full");
    assert_eq!(
        refusal,
        Refusal::QueueFull {
            model: "m:1".to_owned(),
            limit: 8
        }
    );
    bench.fake.release(2);
    first.await.expect("an answer");
    waiting.await.expect("an answer");
}

#[tokio::test]
async fn a_model_that_panics_or_fails_hurts_only_its_own_requests() {
    let bench = bench("input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: panic");
    for _ in 0..2 {
        let refusal = bench.pool().run(job(1, 1.0)).await.expect_err("a panic");
        assert_eq!(refusal.to_string(), "`m:1` failed: it panicked");
    }
}

#[tokio::test]
async fn dropping_answers_what_was_taken_and_then_frees_everything() {
    let mut bench = bench(HELD);
    let pool = Arc::new(bench.pool.take().expect("not dropped yet"));
    let running = Arc::clone(&pool);
    let mut first = Box::pin(async move { running.run(job(1, 1.0)).await });
    assert!(poll!(first.as_mut()).is_pending());
    bench.wait_until_held();
    drop(pool);
    assert!(bench.ended.try_recv().is_err());
    bench.fake.release(1);
    first.await.expect("an answer");
    bench
        .ended
        .await
        .expect("told when the last thread has ended");
}

#[tokio::test]
async fn there_may_be_more_sessions_and_fewer_again() {
    let mut bench = bench(HELD);
    let mut first = Box::pin(bench.pool().run(job(1, 1.0)));
    assert!(poll!(first.as_mut()).is_pending());
    bench.wait_until_held();
    bench.grow(HELD, 3);
    bench.grow(HELD, 2);
    assert_eq!(bench.pool().instances(), 3);
    let mut second = Box::pin(bench.pool().run(job(1, 2.0)));
    assert!(poll!(second.as_mut()).is_pending());
    bench.fake.wait_until_held(2);
    bench.pool().shrink(1);
    assert_eq!(bench.pool().instances(), 1);
    bench.fake.release(2);
    for (future, number) in [(first, 1.0), (second, 2.0)] {
        let done = future.await.expect("an answer");
        assert_eq!(done.outputs, *job(1, number).inputs);
    }
    while bench.pool().shared.places_mut().len() > 1 {
        std::thread::yield_now();
    }
    bench.fake.release(1);
    bench.pool().run(job(1, 3.0)).await.expect("an answer");
    drop(bench.pool.take());
    bench
        .ended
        .await
        .expect("told when the last thread has ended");
}

#[tokio::test]
async fn sessions_that_cannot_be_made_change_nothing() {
    let bench = bench(COPY);
    let refusal = bench.pool().grow(3, || Err(Refusal::Draining));
    assert_eq!(refusal, Err(Refusal::Draining));
    assert_eq!(bench.pool().instances(), 1);
    bench.pool().run(job(1, 1.0)).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_forgotten_while_sessions_come_and_go() {
    let bench = Arc::new(bench(COPY));
    let scaled = Arc::clone(&bench);
    let scaling = tokio::task::spawn_blocking(move || {
        for _ in 0..200 {
            scaled.grow(COPY, 4);
            scaled.pool().shrink(1);
        }
    });
    while !scaling.is_finished() {
        bench.pool().run(job(1, 1.0)).await.expect("an answer");
    }
    scaling.await.expect("no panic");
    bench.pool().run(job(1, 1.0)).await.expect("an answer");
}

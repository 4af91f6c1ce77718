import { TIMER_MS_MAX } from './limits.js';

/** Time as the client knows it; tests hand in one of their own. */
export interface Clock {
  /** Milliseconds of a clock that does not jump. */
  now(): number;
  /** Calls back once, after so many milliseconds. */
  setTimer(callback: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
}


/** The platform's time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (callback, delayMs) => setTimeout(callback, Math.min(delayMs, TIMER_MS_MAX)),
  clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** Resolves with what the promise does, or with nothing when the time is over. */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(() => resolve(undefined), ms);
    promise.then(resolve, reject).finally(() => clock.clearTimer(timer));
  });
}

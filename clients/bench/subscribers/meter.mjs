// Counts what a subscriber takes, says what it has cost whenever it has a whole backlog, and ends with the last one.

import { readFileSync } from 'node:fs';

/** It is looked at the count once in so many messages. A power of two. */
const STEP = 1_024;
const PAYLOAD_BYTES = 128;

const say = (what, then) => process.stdout.write(`${JSON.stringify(what)}\n`, then);

/** Seconds that this thread could have run and another one had its processor. */
const readySeconds = () => Number(readFileSync('/proc/self/schedstat', 'ascii').split(' ')[1]) / 1e9;

export class Meter {
  #backlog;
  #all;
  #count = 0;
  #bytes = 0;

  /** Messages of a backlog, a multiple of the step, and how many backlogs there are. */
  constructor(backlog, backlogs) {
    this.#backlog = backlog;
    this.#all = backlog * backlogs;
  }

  /** The subscription stands: publishing may begin. */
  ready() {
    say({ ready: true });
  }

  /** A message was delivered to the application, with a payload of so many bytes. */
  take(bytes) {
    this.#bytes += bytes;
    if ((++this.#count & (STEP - 1)) === 0) this.#look();
  }

  #look() {
    if (this.#count % this.#backlog !== 0) return;
    if (this.#bytes !== this.#count * PAYLOAD_BYTES) {
      console.error(`${this.#count} messages had ${this.#bytes} bytes, not ${PAYLOAD_BYTES} each`);
      process.exit(1);
    }
    say(this.#costs(), () => this.#count < this.#all || process.exit(0));
  }

  /** What it has cost from the beginning. */
  #costs() {
    const { user, system } = process.cpuUsage();
    return { cpu_seconds: (user + system) / 1e6, ready_seconds: readySeconds() };
  }
}

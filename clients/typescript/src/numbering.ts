import { ERROR } from './codes.js';
import { refusal } from './error.js';
import type { Frame, ServerFrame } from './frames.js';
import { RENUMBERED_MAX } from './limits.js';


type Asker = (done: (reply: ServerFrame) => void) => void;

/** The numbers of publishes, by which a server knows one that is sent again. */
export class Numbering {
  readonly #ask: Asker;
  readonly #later: (retryAfterMs: number | null) => void;
  /** The id; 0: none yet; -1: it was asked for; -2: the server issues none, so publishes are not numbered. */
  #producer = 0;
  #last = 0;

  /** `ask` sends PRODUCER and passes the reply on; `later` lets publishes wait, since none was issued now. */
  constructor(ask: Asker, later: (retryAfterMs: number | null) => void) {
    this.#ask = ask;
    this.#later = later;
  }

  /** Numbers a publish. False: it has to wait for an id, which is asked for. */
  number(frame: Frame): boolean {
    const options = frame[5] as { producer?: number; sequence?: number };
    if (options.producer !== undefined) return true;
    if (this.#producer === 0) this.#request();
    if (this.#producer === -1) return false;
    if (this.#producer > 0) {
      options.producer = this.#producer;
      options.sequence = ++this.#last;
    }
    return true;
  }

  /** A new connection: an id that was asked for on the one before does not come, and this may be another server. */
  begin(): void {
    if (this.#producer < 0) this.#producer = 0;
  }

  /** The server does not know the producer of a publish. True: nothing was appended, and it loses its number. */
  forgotten(waiting: { frame: Frame; attempts: number; renumbered: number }): boolean {
    const options = waiting.frame[5] as { producer?: number; sequence?: number };
    if (options.producer === this.#producer) this.#producer = 0;
    if (waiting.attempts > 1 || waiting.renumbered++ >= RENUMBERED_MAX) return false;
    delete options.producer;
    delete options.sequence;
    return true;
  }

  #request(): void {
    this.#producer = -1;
    this.#ask((reply) => {
      const producer = reply[2]?.producer;
      const isBrief = reply[0] === ERROR && refusal(reply[2], reply[3]).retryable;
      this.#producer = reply[0] !== ERROR && producer > 0 ? producer : isBrief ? 0 : -2;
      if (isBrief) this.#later(reply[4]);
    });
  }
}

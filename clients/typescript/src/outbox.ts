import type { Clock } from './clock.js';
import { TidewireError } from './error.js';
import type { Frame } from './frames.js';
import { FRAME_BYTES_MAX, LOOK_AGAIN_MS, OUTBOX_BYTES_MAX } from './limits.js';
import type { Link } from './link.js';
import { Writer } from './msgpack-writer.js';


/** Puts the frames of one turn together into messages. */
export class Outbox {
  readonly #writer = new Writer();
  readonly #clock: Clock;
  readonly #onRoom: () => void;
  #link: Link | undefined;
  #frameBytesMax = FRAME_BYTES_MAX;
  #isScheduled = false;
  #look: unknown;

  constructor(clock: Clock, onRoom: () => void) {
    this.#clock = clock;
    this.#onRoom = onRoom;
  }

  begin(link: Link): void {
    this.end();
    this.#link = link;
    this.#frameBytesMax = link.info.maxFrameBytes || FRAME_BYTES_MAX;
  }

  end(): void {
    this.#link = undefined;
    this.#writer.rewind(0);
    this.#clock.clearTimer(this.#look);
    this.#look = undefined;
  }

  /** Whether a request may be written now; if not, `onRoom` is called later. */
  hasRoom(): boolean {
    if (!this.#link || this.#link.backlog + this.#writer.length <= OUTBOX_BYTES_MAX) return true;
    this.#look ??= this.#clock.setTimer(() => {
      this.#look = undefined;
      this.#onRoom();
    }, LOOK_AGAIN_MS);
    return false;
  }

  /** Encodes a frame, to be sent at the end of this turn. Throws if it cannot be. */
  push(frame: Frame): void {
    const before = this.#writer.length;
    try {
      this.#writer.value(frame);
      const bytes = this.#writer.length - before;
      if (bytes > this.#frameBytesMax) {
        throw new TidewireError('frame_too_large', `a frame of ${bytes} bytes: the server takes ${this.#frameBytesMax}`);
      }
    } catch (error) {
      this.#writer.rewind(before);
      throw error;
    }
    // A message has the limit of a frame, so what was there before goes as one of its own.
    if (this.#writer.length > this.#frameBytesMax) {
      const message = this.#writer.take();
      this.#link?.send(message.slice(0, before));
      this.#link?.send(message.slice(before));
    } else if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(() => this.write());
    }
  }

  /** Hands over to the connection what was pushed. */
  write(): void {
    this.#isScheduled = false;
    if (this.#link && this.#writer.length > 0) this.#link.send(this.#writer.take());
  }
}

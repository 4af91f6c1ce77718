import { FrameError } from './msgpack-reader.js';

const PREFIX_BYTES = 4;

/** A frame that is longer than the server may send. */
export class FrameTooLargeError extends FrameError {}

/**
 * The frames of one stream, each behind its length, out of pieces that end anywhere. What is kept is what has come of
 * one frame, whatever length it says that it has.
 */
export class StreamFrames {
  readonly #bytesMax: () => number;
  /** Pieces of a frame that is not whole yet, its prefix included. */
  #begun: Uint8Array[] = [];
  #begunBytes = 0;

  constructor(bytesMax: () => number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether the stream may end here. */
  get isBetweenFrames(): boolean {
    return this.#begunBytes === 0;
  }

  /** Takes a piece, and hands on each frame that is whole: views into the piece, or into a copy of their own. */
  push(piece: Uint8Array, take: (frame: Uint8Array) => void): void {
    for (let at = 0; at < piece.length; ) {
      const end = this.isBetweenFrames && piece.length - at >= PREFIX_BYTES ? at + PREFIX_BYTES + this.#length(piece, at) : Infinity;
      if (end <= piece.length) {
        take(piece.subarray(at + PREFIX_BYTES, end));
        at = end;
      } else at += this.#add(piece.subarray(at), take);
    }
  }

  /** Adds to a frame that has begun; returns how many bytes belong to it. */
  #add(piece: Uint8Array, take: (frame: Uint8Array) => void): number {
    const prefix = this.#begunBytes < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + this.#length(this.#begun[0]!, 0);
    const part = piece.subarray(0, prefix - this.#begunBytes);
    this.#begun.push(part);
    this.#begunBytes += part.length;
    if (this.#begunBytes < prefix) return part.length;
    const joined = this.#joined();
    if (prefix > PREFIX_BYTES || this.#length(joined, 0) === 0) {
      this.#begun = [];
      this.#begunBytes = 0;
      take(joined.subarray(PREFIX_BYTES));
    } else this.#begun = [joined];
    return part.length;
  }

  #joined(): Uint8Array {
    const joined = new Uint8Array(this.#begunBytes);
    let at = 0;
    for (const part of this.#begun) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }

  #length(bytes: Uint8Array, at: number): number {
    const length = new DataView(bytes.buffer, bytes.byteOffset + at, PREFIX_BYTES).getUint32(0);
    const bytesMax = this.#bytesMax();
    if (length > bytesMax) throw new FrameTooLargeError(`a frame of ${length} bytes: at most ${bytesMax} are allowed`);
    return length;
  }
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamFrames } from '../dist/stream-frames.js';

/** The same numbers for the same seed, below `bound`. */
function dice(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * bound);
  };
}

function written(frames: Uint8Array[]): Uint8Array {
  const prefix = ({ length }: Uint8Array) => Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length);
  return new Uint8Array(Buffer.concat(frames.flatMap((frame) => [prefix(frame), frame])));
}

test('frames come out as they went in, wherever the pieces end', () => {
  for (let seed = 1; seed <= 500; seed++) {
    const next = dice(seed);
    const frames = Array.from({ length: 1 + next(8) }, () => Uint8Array.from({ length: next(next(4) ? 12 : 300) }, () => next(256)));
    const stream = written(frames);
    const pieceBytesMax = 1 + next(next(2) ? 6 : 400);
    const cutter = new StreamFrames(() => 300);
    const seen: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const end = Math.min(at + 1 + next(pieceBytesMax), stream.length);
      // A piece is a view somewhere in a larger buffer.
      const buffer = new Uint8Array(end - at + 7);
      buffer.set(stream.subarray(at, end), 5);
      cutter.push(buffer.subarray(5, 5 + end - at), (frame) => seen.push(frame));
      at = end;
    }
    assert.deepEqual(seen.map((frame) => [...frame]), frames.map((frame) => [...frame]), `seed ${seed}`);
    assert.ok(cutter.isBetweenFrames, `seed ${seed}`);
  }
});

test('a stream that is cut anywhere shows whole frames only, and that it does not end between frames', () => {
  const frames = [Uint8Array.of(1, 2, 3), Uint8Array.of(), Uint8Array.of(4)];
  const stream = written(frames);
  const ends = [0, 7, 11, 16];
  for (let cut = 0; cut <= stream.length; cut++) {
    const cutter = new StreamFrames(() => 3);
    let seen = 0;
    cutter.push(stream.subarray(0, cut), () => seen++);
    assert.equal(seen, ends.filter((end) => end > 0 && end <= cut).length, `${cut} bytes`);
    assert.equal(cutter.isBetweenFrames, ends.includes(cut), `${cut} bytes`);
  }
});

test('a length over the limit is refused before its bytes are here, however it is cut', () => {
  for (let cut = 0; cut <= 4; cut++) {
    const cutter = new StreamFrames(() => 1_000);
    const push = () => {
      cutter.push(Uint8Array.of(0, 0, 0x03, 0xe9).subarray(0, cut), () => {});
      cutter.push(Uint8Array.of(0, 0, 0x03, 0xe9).subarray(cut), () => {});
    };
    assert.throws(push, /1001 bytes: at most 1000/, `cut after ${cut}`);
  }
});

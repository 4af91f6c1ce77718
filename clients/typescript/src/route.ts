import type { TidewireError } from './error.js';
import type { Frame, ServerFrame } from './frames.js';
import type { Reader } from './msgpack-reader.js';

/** A subscription, watch or consumer, as the connection sees it: it goes on after a cut. */
export interface Route {
  /** The number that the server knows it by. */
  sub: number;
  /** Whether the server has answered its opening once. */
  hasRun: boolean;
  /** When it was refused for the moment first; it is opened again, until that is too long ago. */
  refusedAt?: number | undefined;
  /** Whether it waits to be opened again. */
  isDue?: boolean;
  /** The frame that starts it, or lets it go on, under its number; nothing if there is nothing to start now. */
  open(req: number): Frame | undefined;
  /** The server has answered that. */
  opened(reply: ServerFrame): void;
  /** A frame for it has come. */
  receive(frame: ServerFrame): void;
  /** A DELIVER has come, whose fields behind `sub` are to be read. */
  deliver?(reader: Reader): void;
  /** It is over. */
  end(error: TidewireError): void;
}

import type { Clock } from './clock.js';
import type { Socket, TransportName } from './socket.js';

/** A session that says nothing for so long after it was opened has not reached the server. */
const SILENT_MS = 1_000;

/** What a race is about. */
export interface Course {
  /** Opens either of them. */
  readonly open: Readonly<Record<TransportName, () => Socket>>;
  /** How long WebTransport runs alone. */
  readonly headStartMs: number;
  readonly clock: Clock;
  /** WebTransport works, or does not, for the reason given. */
  readonly works: () => void;
  readonly fails: (reason: string) => void;
}

/**
 * A connection over WebTransport, or over a WebSocket if that is not open in time: whichever is open first is the
 * connection, and the other one is closed. Nothing is sent before that, so nothing can be lost or sent twice.
 */
export class Race implements Socket {
  binaryType = 'arraybuffer';
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  transport: TransportName | undefined;
  fallback: string | undefined;
  readonly #course: Course;
  readonly #running = new Map<TransportName, Socket>();
  readonly #reasons = new Map<TransportName, string>();
  #winner: Socket | undefined;
  #openedAt = 0;
  #hasHeard = false;
  #timer: unknown;

  constructor(course: Course) {
    this.#course = course;
    this.#timer = course.clock.setTimer(() => this.#start('websocket'), course.headStartMs);
    // Whoever makes this listens only afterwards.
    queueMicrotask(() => this.#timer !== undefined && this.#start('webtransport'));
  }

  get bufferedAmount(): number {
    return this.#winner?.bufferedAmount ?? 0;
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    this.#winner!.send(data);
  }

  close(code?: number, reason?: string): void {
    this.#stopTimer();
    if (this.#course.clock.now() - this.#openedAt >= SILENT_MS) this.#doubt(`no answer within ${SILENT_MS} ms of its opening`);
    this.#winner?.close(code, reason);
    for (const [name] of this.#running) this.#drop(name);
  }

  #start(name: TransportName): void {
    if (name === 'websocket') {
      this.#stopTimer();
      if (this.#running.has(name) || this.#reasons.has(name)) return;
    }
    let socket: Socket;
    try {
      socket = this.#course.open[name]();
    } catch (error) {
      return this.#lost(name, (error as Error).message);
    }
    this.#running.set(name, socket);
    let said = '';
    socket.binaryType = this.binaryType;
    socket.onopen = (event) => this.#won(name, socket, event);
    socket.onerror = ({ message }: { message?: string }) => (said = message ?? '');
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.#lost(name, said || reason || `closed with status ${code}`);
  }

  #won(name: TransportName, socket: Socket, event: unknown): void {
    const { clock, headStartMs, works, fails } = this.#course;
    this.#stopTimer();
    this.#running.delete(name);
    const other = [...this.#running.keys()][0];
    if (other) this.#drop(other);
    this.#winner = socket;
    this.#openedAt = clock.now();
    this.transport = name;
    if (name === 'websocket') fails((this.fallback = this.#reasons.get('webtransport') ?? `no answer within ${headStartMs} ms`));
    socket.onmessage = (message) => {
      if (!this.#hasHeard && name === 'webtransport') works();
      this.#hasHeard = true;
      this.onmessage?.(message);
    };
    socket.onerror = (error) => this.onerror?.(error);
    socket.onclose = (closed: { code: number; reason: string }) => {
      if (closed.code < 4_000) this.#doubt(`lost before an answer: ${closed.reason}`);
      this.onclose?.(closed);
    };
    this.onopen?.(event);
  }

  /** One that opened and then said nothing is as bad as one that did not open. */
  #doubt(reason: string): void {
    if (this.transport === 'webtransport' && !this.#hasHeard) this.#course.fails(reason);
  }

  #lost(name: TransportName, reason: string): void {
    this.#running.delete(name);
    this.#reasons.set(name, reason);
    if (name === 'webtransport') this.#start('websocket');
    if (this.#reasons.size < 2) return;
    const [tried, instead] = [this.#reasons.get('webtransport'), this.#reasons.get('websocket')];
    this.onerror?.({ message: `WebTransport: ${tried}; WebSocket: ${instead}` });
  }

  #drop(name: TransportName): void {
    const socket = this.#running.get(name)!;
    this.#running.delete(name);
    socket.onopen = socket.onclose = null;
    // Some sockets throw what nobody listens to.
    socket.onerror = () => {};
    socket.close();
  }

  #stopTimer(): void {
    this.#course.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }
}

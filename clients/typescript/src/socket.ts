/** What the client needs of a connection; the browser's WebSockets, and those of `ws`, have it. */
export interface Socket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  /** What it is, once it is open; one that does not say so is a WebSocket. */
  readonly transport?: TransportName | undefined;
  /** Why it is not the transport that was wanted first. */
  readonly fallback?: string | undefined;
}

/** What carries the frames. */
export type TransportName = 'websocket' | 'webtransport';

/** Opens a connection to this URL of WebSockets, with this subprotocol. */
export type Transport = (url: string, protocol: string) => Socket;

import type { Socket } from './socket.js';

/** Opens the platform's own WebSocket. */
export function openSocket(url: string, protocol: string): Socket {
  return new WebSocket(url, protocol) as unknown as Socket;
}

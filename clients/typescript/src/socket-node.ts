import { WebSocket } from 'ws';
import type { Socket } from './socket.js';

/** Opens a WebSocket of `ws`: Node 20 has none of its own. The protocol uses no compression. */
export function openSocket(url: string, protocol: string): Socket {
  return new WebSocket(url, protocol, { perMessageDeflate: false, skipUTF8Validation: true }) as unknown as Socket;
}

import { Client } from '@tidewire/client';

/** `?server=ws://HOST:PORT` in the page's address, or the server on this machine. */
export const serverUrl = new URLSearchParams(location.search).get('server') ?? 'ws://127.0.0.1:7171';

/** What to look at when there is no connection. The browser tells a page nothing of why it was refused. */
export const UNREACHABLE = `No connection to ${serverUrl}. Does a server run there, and does its http.allowed_origins have ${location.origin}?`;

/** A client that connects, goes on trying, and says in the element `#state` where it stands. */
export function connect(): Client {
  const client = new Client(serverUrl, { failFast: false });
  client.on('state', ({ state }) => {
    if (state === 'connected') say('Live', state);
    else if (state === 'connecting') say('Connecting', state);
    else say(UNREACHABLE, state);
  });
  client.on('error', tell);
  client.connect().catch(tell);
  return client;
}

/** Says what went wrong. */
export function tell(error: Error): void {
  say(error.message, 'failed');
}

function say(text: string, state: string): void {
  const element = document.querySelector<HTMLElement>('#state')!;
  element.dataset.state = state;
  element.textContent = text;
}

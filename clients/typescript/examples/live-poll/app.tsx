import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Client } from '@tidewire/client';
import { TidewireProvider, useConnectionState, usePresence, useTally } from '@tidewire/client/react';

const POLL = 'lunch';
const OPTIONS = ['Pizza', 'Noodles', 'Salad'];
/** Who votes on this device. Where there are accounts, the server knows the voter by its token instead. */
const voter = (localStorage.voter ??= crypto.randomUUID());

function Poll() {
  const { standings, error, vote } = useTally(POLL);
  const { members } = usePresence(`${POLL}.room`, { member: voter });
  const { state } = useConnectionState();
  if (error) return <p role="alert">{error.message}</p>;
  if (!standings) return <p>Loading</p>;
  const most = Math.max(...standings.counts, 1);
  return (
    <main>
      <h1>Lunch today</h1>
      {standings.options.map((option, index) => (
        <p key={option}>
          <button disabled={standings.state !== 'open'} onClick={() => void vote(option, { voter })}>{option}</button>
          <meter max={most} value={standings.counts[index]} /> {standings.counts[index]}
        </p>
      ))}
      <footer>{standings.ballots} votes, {members.size} here, {state}</footer>
    </main>
  );
}

const url = new URLSearchParams(location.search).get('server') ?? 'ws://127.0.0.1:7171';
const client = new Client(url, { failFast: false });
void client.connect();
void client.tally(POLL).create({ kind: 'single', options: OPTIONS }).then(() => {
  createRoot(document.getElementById('root')!).render(
    <StrictMode>
      <TidewireProvider client={client}><Poll /></TidewireProvider>
    </StrictMode>,
  );
});

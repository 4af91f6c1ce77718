import { StrictMode, useEffect, useState, type CSSProperties } from 'react';
import { createRoot } from 'react-dom/client';
import { Client, type TidewireError } from '@tidewire/client';
import { TidewireProvider, useClient, useConnectionState, usePresence, useTally } from '@tidewire/client/react';
import { serverUrl, UNREACHABLE } from '../connect';

const POLL = 'poll.live';
const OPTIONS = ['Pizza', 'Noodles', 'Salad'];
/** Who votes on this device. Where there are accounts, the server knows the voter by its token instead. */
const voter = (localStorage.voter ??= crypto.randomUUID());

function Poll() {
  const { standings, error, vote } = useTally(POLL);
  const { members } = usePresence(`${POLL}.room`, { member: voter });
  const [mine, setMine] = useState<string | undefined>(localStorage.vote);
  const [said, setSaid] = useState('One vote each; you may change it.');
  if (error) return <p role="alert">{error.message}</p>;
  if (!standings) return <p>Waiting for the poll</p>;

  const choose = (option: string) => vote(option, { voter }).then(
    ({ status }) => {
      setMine((localStorage.vote = option));
      setSaid(status === 'changed' ? `Your vote is for ${option} now.` : `Your vote for ${option} is counted.`);
    },
    (refused: TidewireError) => setSaid(refused.message),
  );
  return (
    <>
      <div className="options card">
        {standings.options.map((option, index) => (
          <button key={option} aria-pressed={option === mine} disabled={standings.state !== 'open'} onClick={() => void choose(option)}>
            <i className="fill" style={{ '--share': standings.counts[index]! / Math.max(standings.ballots, 1) } as CSSProperties} />
            <span className="mark" /><span>{option}</span><strong>{standings.counts[index]}</strong>
          </button>
        ))}
        <p role="status">{said}</p>
      </div>
      <footer>{standings.ballots === 1 ? '1 vote' : `${standings.ballots} votes`}, {members.size} here</footer>
    </>
  );
}

function App() {
  const client = useClient();
  const { state } = useConnectionState();
  const [created, setCreated] = useState<'created' | Error>();
  useEffect(() => {
    // Whoever comes first creates it; for the others the same again changes nothing.
    client.tally(POLL).create({ kind: 'single', options: OPTIONS }).then(() => setCreated('created'), setCreated);
  }, [client]);
  const where = { connected: 'Live', connecting: 'Connecting', disconnected: UNREACHABLE, failed: UNREACHABLE }[state];
  return (
    <>
      <header><h1>Lunch today</h1><p id="state" role="status" data-state={state}>{where}</p></header>
      <main>{created instanceof Error ? <p role="alert">{created.message}</p> : created && <Poll />}</main>
    </>
  );
}

const client = new Client(serverUrl, { failFast: false });
client.connect().catch(() => {}); // useConnectionState says it
createRoot(document.getElementById('root')!).render(
  <StrictMode><TidewireProvider client={client}><App /></TidewireProvider></StrictMode>,
);

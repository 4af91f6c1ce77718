/** The election-night page: follows the daemon's demo and decides what is shown. */

import { Board } from './board.js';
import { age, displayName, integer, setText } from './format.js';
import { Race, ranked } from './race.js';
import { Runoff } from './rounds.js';
import { Stats } from './stats.js';
import { KIND, START, Tidewire } from './tidewire.js';

const TALLY = 'demo.election';
const STATUS_TOPIC = 'demo.status';
const NOT_FOUND = 9;
const RETRY_MS = 3000;
const STALE_MS = 2000;
const TICK_MS = 250;
const PING_INTERVAL_MS = 5000;
const ANNOUNCE_INTERVAL_MS = 10_000;

const el = Object.fromEntries([...document.querySelectorAll('[id]')].map((node) => [node.id, node]));
const client = new Tidewire(new URL('/v1/ws', location.href.replace('http', 'ws')), { name: 'tidewire-page/0.1' });
const stats = new Stats(el);
const board = new Board(el);
const runoff = new Runoff(el, (byHand) => { draw(); announce(runoff.story(), byHand); });

let race, known, dataAtMs, asking, drawing;
let isMissing = false;
let refusal = null;
let mood = 'loading';
let degradedMs = 0;
let retryAtMs = null;
let announcedAtMs = 0;

/** Begins anew: another epoch's numbers, rounds and bars mean nothing now. */
function forget() {
	race = new Race();
	known = { options: [], rules: {}, standings: null, status: {}, isRunoff: false };
	runoff.load(null);
	stats.clear();
	board.clear();
	show(false);
}

const dataAge = () => age(performance.now() - dataAtMs);
const finished = () => known.status.phase === 'done' || known.standings?.state === 'closed';

function followTally() {
	const watch = client.watch(KIND.TALLY, TALLY, { interval_ms: 33 });
	const lose = () => {
		forget();
		isMissing = true;
	};
	watch.on('watching', ({ info, sameEpoch }) => {
		if (!sameEpoch || isMissing) forget();
		isMissing = false;
		Object.assign(known, info);
	});
	watch.on('update', ({ value, deleted, staleMs, receivedAtMs }) => {
		degradedMs = staleMs;
		known.standings = value;
		if (!deleted) return changed(receivedAtMs);
		lose();
		client.stop(watch).catch(() => {});
		return setTimeout(followTally, RETRY_MS);
	});
	watch.on('ended', (error) => {
		if (error?.code === NOT_FOUND) lose();
		else if (error?.code && !error.retryable) refusal = error;
		if (error && !refusal) setTimeout(followTally, error.retryAfterMs ?? RETRY_MS);
	});
}

/** The figures beside the board may be missing; the count goes on without them. */
function followStatus() {
	client.subscribe(STATUS_TOPIC, { start: START.last(1) }).on('records', ({ records, receivedAtMs }) => {
		const { payload } = records.at(-1);
		const status = payload ? JSON.parse(new TextDecoder().decode(payload)) : {};
		Object.assign(known.status, status);
		stats.status(status, receivedAtMs);
		changed(receivedAtMs);
	}).on('ended', (error) => { if (error) setTimeout(followStatus, RETRY_MS); });
}

function changed(atMs) {
	dataAtMs = atMs;
	if (!finished()) {
		known.witnessed ||= known.standings?.ballots > 0;
		// Another count has begun in the same tally.
		if (runoff.result) {
			runoff.load(null);
			known.decided = false;
			show(false);
		}
	} else if (known.standings && runoff.result?.ballots !== known.standings.ballots) askRounds();
	drawing ??= requestAnimationFrame(() => {
		drawing = null;
		draw();
	});
}

async function askRounds() {
	if (asking || known.rules.kind !== 'ranked') return;
	asking = true;
	try {
		runoff.load((await client.get(KIND.ROUNDS, TALLY)).value);
		show(true);
		// Who saw the count sees the runoff played; who comes later gets the result.
		if (known.witnessed && !matchMedia('(prefers-reduced-motion: reduce)').matches) runoff.toggle();
		draw();
	} catch {
		setTimeout(() => { if (finished()) askRounds(); }, RETRY_MS);
	}
	asking = false;
}

function show(isRunoff) {
	known.isRunoff = isRunoff;
	el.player.hidden = !isRunoff;
	el['view-race'].ariaPressed = !isRunoff;
	el['view-runoff'].ariaPressed = isRunoff;
	el['view-runoff'].disabled = !runoff.result;
	setText(el.unit, `votes · share of ${isRunoff ? 'continuing' : ''} ballots`);
	setText(el.caption, isRunoff ? 'This round of the instant runoff' : 'The count');
}

function draw() {
	const { standings, status, options, rules, isRunoff } = known;
	if (!standings) return;
	const total = status.ballots_total ?? 0;
	setText(el.title, status.title ?? 'Election night');
	el.switch.hidden = rules.kind !== 'ranked';
	stats.ballots(standings.ballots, total);
	board.render(isRunoff ? runoff.view() : race.view(options, standings, total));
	if (isRunoff) {
		runoff.draw();
		known.decided ||= runoff.at === runoff.last;
	}
	setText(el.headline, headline());
	setText(el.note, `Blank ${integer(standings.blank)} · over-voted ${integer(standings.overvotes)}`);
}

function headline() {
	const { options, standings: { counts }, decided } = known;
	if (runoff.result) return decided ? runoff.verdict() : 'Every ballot is counted. Now the runoff, round by round.';
	const [first, second] = ranked(counts);
	const lead = counts[first] - counts[second];
	return lead ? `${displayName(options[first])} leads ${displayName(options[second])} by ${integer(lead)}` : 'The count has begun';
}

function currentMood() {
	if (refusal) return 'refused';
	if (client.state !== 'connected') return known.standings ? 'disconnected' : retryAtMs ? 'unreachable' : 'loading';
	if (isMissing) return 'empty';
	if (!known.standings) return 'loading';
	if (finished()) return 'final';
	if (performance.now() - dataAtMs > STALE_MS) return 'stale';
	return degradedMs ? 'degraded' : 'live';
}

const PILLS = { loading: 'Connecting', empty: 'Waiting', unreachable: 'Offline', disconnected: 'Offline' };

/** Title and text of the notice; the other moods need none. */
function notice() {
	const seconds = Math.ceil((retryAtMs - performance.now()) / 1000);
	const retry = seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying now.';
	switch (mood) {
		case 'empty': return ['No election is running here yet', 'Start one with “tidewire demo”; this page looks again every few seconds.'];
		case 'unreachable': return ['The daemon does not answer', retry];
		case 'disconnected': return ['Disconnected', `These numbers are ${dataAge()} old. ${retry}`];
		case 'refused': return ['The daemon refused this page', `${refusal.message} (error ${refusal.code})`];
		default: return null;
	}
}

/** What changes with time alone: ages, and the mood they lead to. */
function tick() {
	const before = mood;
	mood = currentMood();
	document.body.dataset.mood = mood;
	const pill = PILLS[mood] ?? mood[0].toUpperCase() + mood.slice(1);
	setText(el.pill, pill);
	setText(el.age, known.standings ? dataAge() : '–');
	const texts = notice();
	el.notice.hidden = !texts;
	if (texts) {
		setText(el['notice-title'], texts[0]);
		setText(el['notice-text'], texts[1]);
	}
	el['notice-retry'].hidden = mood === 'empty';
	if (before !== mood) announce(texts ? texts[0] : pill, true);
	else if (mood === 'live' || mood === 'degraded') announce(`${integer(known.standings.ballots)} ballots counted. ${headline()}`);
}

/** Tells those who hear the page, not more often than they can follow. */
function announce(text, now) {
	if (!now && performance.now() - announcedAtMs < ANNOUNCE_INTERVAL_MS) return;
	announcedAtMs = performance.now();
	setText(el.announce, text);
}

client.on('state', ({ state, error, retryInMs }) => {
	if (retryInMs) retryAtMs = performance.now() + retryInMs;
	if (state === 'failed') refusal = error;
	tick();
});
client.on('roundtrip', (roundtripMs) => stats.roundtrip(roundtripMs));
el['view-race'].onclick = () => { runoff.pause(); show(false); draw(); };
el['view-runoff'].onclick = () => { show(true); draw(); };
el['notice-retry'].onclick = () => {
	if (client.state === 'connected') followTally();
	refusal = null;
	client.connect();
};

forget();
followTally();
followStatus();
setInterval(tick, TICK_MS);
setInterval(() => { if (client.state === 'connected') client.ping(); }, PING_INTERVAL_MS);

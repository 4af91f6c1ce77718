/** The page of guests: one vote in a small poll, which may be changed, and the count as it is. */

import { integer, setText } from './format.js';
import { KIND, Tidewire } from './tidewire.js';

const POLL = 'poll.lan';
const UNAUTHENTICATED = 12;
const FORBIDDEN = 13;
const NOT_FOUND = 9;
const RETRY_MS = 3000;
/** So many failures before the first connection are no accident. */
const FAILURES_TOLD = 2;
const VOTER_BYTES = 16;
const VOTER_KEY = 'tidewire.voter';
const VOTE_KEY = `tidewire.vote.${POLL}`;

const el = Object.fromEntries([...document.querySelectorAll('[id]')].map((node) => [node.id, node]));
// Not a part of what a browser sends: it stays on this device.
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? undefined;

/** What this browser remembers; one that remembers nothing votes too, until the page is closed. */
const memory = {
	get(key) { try { return localStorage.getItem(key); } catch { return null; } },
	set(key, value) { try { localStorage.setItem(key, value); } catch { /* The page itself remembers. */ } },
};
const voter = memory.get(VOTER_KEY) ?? newVoter();

let options = [];
let standings = null;
let epoch = null;
/** The option of the vote that is counted, the one that is wanted, and whether it is on its way. */
let counted = null;
let wanted = null;
let sending = false;
let isLost = false;
let wasConnected = false;
let failures = 0;
let refusal = null;
let buttons = [];

function newVoter() {
	const bytes = crypto.getRandomValues(new Uint8Array(VOTER_BYTES));
	const made = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
	memory.set(VOTER_KEY, made);
	return made;
}

/** Only a vote in this poll's own epoch is one: a demo that was started again has none. */
function remembered() {
	const [at, ...option] = (memory.get(VOTE_KEY) ?? '').split(' ');
	return at === String(epoch) && options.includes(option.join(' ')) ? option.join(' ') : null;
}

function follow(client) {
	const again = (afterMs) => setTimeout(() => follow(client), afterMs ?? RETRY_MS);
	const watch = client.watch(KIND.TALLY, POLL, { interval_ms: 100 });
	watch.on('watching', ({ info, epoch: at }) => {
		options = info?.options ?? options;
		if (at !== epoch) {
			epoch = at;
			standings = null;
			counted = remembered();
			if (!sending) wanted = counted;
		}
		if (wanted === counted) say(settled());
		build();
		draw();
	}).on('update', ({ value, deleted }) => {
		if (deleted) {
			client.stop(watch).catch(() => {});
			say('The poll is gone. This page looks for it again.');
			return again();
		}
		standings = value;
		if (value.state === 'closed') say(settled());
		draw();
	}).on('ended', (error) => {
		if (!error) return;
		if (error.code === NOT_FOUND) say('There is no poll yet. This page looks again every few seconds.');
		if (error.code === NOT_FOUND || error.retryable) again(error.retryAfterMs);
		else refuse(error);
	});
}

/** Sends the vote that is wanted until it is counted or refused; a cut sends it again when it is over. */
async function cast() {
	if (sending || client.state !== 'connected' || wanted === null || wanted === counted) return;
	const option = wanted;
	sending = true;
	say(`Sending your vote for ${option}`);
	try {
		const { epoch: at } = await client.vote(POLL, voter, [option]);
		counted = option;
		memory.set(VOTE_KEY, `${at} ${option}`);
		say(settled());
	} catch (error) {
		failed(error, option);
	}
	sending = false;
	draw();
	if (wanted !== option) cast();
}

function failed(error, option) {
	if (error.retryable || error.kind === 'timeout') {
		say(`Your vote for ${option} is not counted yet; trying again.`);
		setTimeout(cast, error.retryAfterMs ?? RETRY_MS);
	} else if (error.kind === 'refused') {
		if (wanted === option) wanted = counted;
		if ([UNAUTHENTICATED, FORBIDDEN].includes(error.code)) refuse(error);
		else say(`Your vote for ${option} was not taken: ${error.message}`);
	} else say(`Your vote for ${option} will be sent when the connection is back.`);
}

function refuse(error) {
	refusal = error;
	mood();
}

const voteCount = (count) => `${integer(count)} ${count === 1 ? 'vote' : 'votes'}`;

const say = (text) => setText(el.said, text);

/** What there is to say when no vote is on its way. */
function settled() {
	if (standings?.state === 'closed') return counted ? `The poll is closed. You voted for ${counted}.` : 'The poll is closed.';
	return counted ? `Your vote for ${counted} is counted. You may change it.` : 'Touch a name to vote.';
}

function build() {
	if (buttons.length === options.length && buttons.every(({ option }, at) => option === options[at])) return;
	buttons = options.map((option) => {
		const button = document.createElement('button');
		const [mark, name, votes] = ['mark', 'option', 'votes'].map((part) => {
			const span = document.createElement('span');
			span.className = part;
			return span;
		});
		mark.ariaHidden = 'true';
		name.textContent = option;
		button.append(mark, name, votes);
		button.onclick = () => {
			wanted = option;
			draw();
			if (client.state !== 'connected') say(`Your vote for ${option} will be sent when the connection is back.`);
			cast();
		};
		return { option, button, votes };
	});
	el.options.replaceChildren(...buttons.map(({ button }) => button));
}

function draw() {
	const closed = standings?.state === 'closed';
	buttons.forEach(({ option, button, votes }, at) => {
		const count = standings?.counts[at] ?? 0;
		button.ariaPressed = String(option === wanted);
		button.disabled = closed;
		button.dataset.votes = count;
		button.style.setProperty('--share', count / Math.max(1, standings?.ballots ?? 0));
		setText(votes, standings ? voteCount(count) : '');
	});
	setText(el.ballots, standings ? `${voteCount(standings.ballots)} in all` : '');
}

/** Title and text of what keeps a person from voting. */
function notice() {
	if (refusal?.code === UNAUTHENTICATED) {
		return token
			? ['This invitation has expired', 'Scan the code again, or ask for a new one: an invitation lasts for an hour.']
			: ['An invitation is missing', 'Scan the code that the demo shows, or open the whole address that it prints.'];
	}
	if (refusal?.code === FORBIDDEN) return ['You may not vote with this address', 'Scan the code that the demo shows.'];
	if (refusal) return ['The server refused this page', `${refusal.message} (error ${refusal.code})`];
	if (isLost && !wasConnected && failures >= FAILURES_TOLD) {
		return [
			'This page came, its live connection did not',
			'Trying again. iPhones and iPads refuse it, since the demo made its certificate itself: vote from another device.',
		];
	}
	if (isLost) return ['No connection', 'Trying again. What you choose meanwhile is sent then.'];
	return null;
}

const PILLS = { loading: 'Connecting', live: 'Live', disconnected: 'Offline', refused: 'Refused' };

function mood() {
	const now = refusal ? 'refused' : client.state === 'connected' ? 'live' : isLost ? 'disconnected' : 'loading';
	document.body.dataset.mood = now;
	setText(el.pill, PILLS[now]);
	const texts = notice();
	el.notice.hidden = !texts;
	if (!texts) return;
	setText(el['notice-title'], texts[0]);
	setText(el['notice-text'], texts[1]);
}

const client = new Tidewire(new URL('/v1/ws', location.href.replace('http', 'ws')), { token, name: 'tidewire-vote/0.1' });
client.on('state', ({ state, error }) => {
	if (state === 'failed') refusal = error;
	if (state === 'connected') wasConnected = true;
	if (state === 'disconnected') failures += 1;
	// An attempt to connect again is no connection yet.
	if (state !== 'connecting') isLost = state === 'disconnected';
	mood();
	if (state === 'connected') cast();
});
el['notice-retry'].onclick = () => {
	if (refusal && client.state === 'connected') follow(client);
	refusal = null;
	client.connect();
	mood();
};
// The same page may be opened with another invitation.
addEventListener('hashchange', () => location.reload());
follow(client);
mood();

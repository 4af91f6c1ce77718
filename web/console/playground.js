/** Trying things out, over the client that applications use: topics, counters, tallies. */

import { element, field } from './elements.js';
import { integer, setText } from './format.js';

const LINES_MAX = 200;
/** Values are drawn so often at most: the server sends the newest one only. */
const INTERVAL_MS = 100;
const VOTED = {
	accepted: 'The vote counts.', changed: 'The vote is changed.', duplicate: 'This voter has voted so already: nothing has changed.',
};

/** One thing to play with: its form, where what was asked is answered, and what it follows. */
class Play {
	#followed;
	answer = element('p', { className: 'answer', role: 'status' });

	/** @param {() => object} client the connection in use */
	constructor(client, title, name, ...content) {
		this.isAway = () => client().state !== 'connected';
		this.name = element('input', { value: name, required: true, spellcheck: false, autocapitalize: 'off', maxLength: 256 });
		const head = element('div', { className: 'bar' }, field('Name', this.name, 'wide'));
		this.head = head;
		this.element = element('section', { className: 'play', aria: { label: title } }, element('h3', {}, title), head, ...content, this.answer);
	}

	/** Does what was asked, and says what came of it; whether it was done. */
	async do(action, describe) {
		this.say(this.isAway() ? 'There is no connection: this is sent when there is one again.' : '');
		try {
			const answer = await action(this.name.value.trim());
			this.say(describe(answer));
			return true;
		} catch (error) {
			this.say(error.code ? `${error.code}: ${error.message}` : error.message, true);
			return false;
		}
	}

	say(text, isRefused = false) {
		setText(this.answer, text);
		this.answer.classList.toggle('refused', isRefused);
	}

	/** Follows something else from now on. */
	follow(feed) {
		this.#followed?.close();
		this.#followed = feed;
		feed?.on('ended', (error) => error && this.#followed === feed && this.say(`${error.code}: ${error.message}`, true));
		return feed;
	}
}

/** Enter in a field does what its button does. */
function onEnter(action, ...inputs) {
	for (const input of inputs) {
		input.onkeydown = (event) => {
			if (event.key === 'Enter') action();
		};
	}
}

const counted = (count, one) => `${integer(count)} ${one}${count === 1 ? '' : 's'}`;

function button(text, action, className = '') {
	return element('button', { type: 'button', className, onclick: action }, text);
}

function topicPlay(client) {
	const log = element('ol', { className: 'log', tabIndex: 0, aria: { label: 'Records', live: 'off' } });
	const key = element('input', { placeholder: 'none', spellcheck: false });
	const payload = element('textarea', { value: '{"hello":"world"}', spellcheck: false });
	const play = new Play(client, 'Topic', 'news', log,
		field('Payload', payload), element('div', { className: 'bar' }, field('Key', key, 'wide'), button('Publish', publish, 'main')));
	const line = (text, className = '') => {
		const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
		log.append(element('li', { className }, text));
		while (log.children.length > LINES_MAX) log.firstChild.remove();
		if (isAtEnd) log.scrollTop = log.scrollHeight;
	};
	function publish() {
		const options = key.value ? { key: key.value } : {};
		play.do((name) => client().topic(name).publish(payload.value, options),
			({ offset }) => (offset === undefined || offset === null ? 'Published.' : `Published at offset ${integer(offset)}.`));
	}
	function subscribe() {
		play.say('');
		log.replaceChildren();
		const name = play.name.value.trim();
		const feed = play.follow(client().subscribe(name, { start: { last: 20 } }));
		feed.on('record', (record) => line(`${record.topic} ${record.offset}${record.key ? ` ${record.key}` : ''}  ${shown(record)}`));
		feed.on('gap', ({ from, next, reason }) => line(missing(from, next, reason), 'said'));
		feed.ready().then(() => play.say(`Subscribed to ${name}.`), () => {});
	}
	play.head.append(button('Subscribe', subscribe));
	onEnter(subscribe, play.name);
	onEnter(publish, key);
	play.open = (name) => {
		play.name.value = name;
		subscribe();
	};
	return play;
}

function missing(from, next, reason) {
	if (reason === 'new_epoch') return 'the topic has begun anew: what was not read before is lost';
	return next > from ? `records ${integer(from)} to ${integer(next - 1)} are missing: ${reason}` : `records are missing: ${reason}`;
}

/** A payload as text, or what it is if it is none. */
function shown(record) {
	const text = record.text();
	return text.includes('\ufffd') ? `${integer(record.payload.length)} bytes` : text;
}

function counterPlay(client) {
	const value = element('p', { className: 'value' }, '–');
	const add = (by) => () => {
		watch();
		play.do((name) => client().counter(name).incr(by), (counted) => `It is ${integer(counted.value)} now.`);
	};
	const play = new Play(client, 'Counter', 'likes', value,
		element('div', { className: 'bar' }, button('Add 1', add(1), 'main'), button('Subtract 1', add(-1))));
	let watched;
	function watch() {
		const name = play.name.value.trim();
		if (watched === name) return;
		watched = name;
		setText(value, '–');
		play.say('');
		const feed = play.follow(client().counter(name).watch({ intervalMs: INTERVAL_MS }));
		feed.on('value', (update) => setText(value, integer(update.value)));
	}
	function look() {
		watch();
		const name = play.name.value.trim();
		client().counter(name).get().then((found) => found ?? play.say('It does not exist yet: the first increment makes it.'), () => {});
	}
	play.head.append(button('Watch', look));
	onEnter(look, play.name);
	play.name.oninput = () => {
		watched = undefined;
		play.follow(undefined);
		setText(value, '–');
	};
	play.open = (name) => {
		play.name.value = name;
		watched = undefined;
		watch();
	};
	play.reset = () => { watched = undefined; };
	return play;
}

function tallyPlay(client) {
	const standings = element('div');
	const options = element('input', { value: 'pizza, salad, soup', spellcheck: false });
	const voter = element('input', { value: 'ann', spellcheck: false, maxLength: 256 });
	const choice = element('select');
	const play = new Play(client, 'Tally', 'snack', standings,
		element('div', { className: 'bar' }, field('Vote for', choice, 'wide'), field('As voter', voter, 'wide'), button('Vote', vote, 'main')),
		element('div', { className: 'bar' }, field('Options', options, 'wide'), button('Create', create)));
	/** What was watched before is another tally's. */
	function forget() {
		play.follow(undefined);
		standings.replaceChildren();
		choice.replaceChildren();
	}
	function watch() {
		const name = play.name.value.trim();
		forget();
		play.follow(client().tally(name).watch({ intervalMs: INTERVAL_MS })).on('value', ({ value }) => draw(value));
	}
	async function create() {
		const names = options.value.split(',').map((option) => option.trim()).filter(Boolean);
		const isThere = await play.do((name) => client().tally(name).create({ kind: 'single', options: names }),
			({ created }) => (created ? 'Created.' : 'It is there already, with these rules.'));
		if (isThere) watch();
	}
	function vote() {
		if (!choice.value) return play.say('Watch a tally, or create one: then there is something to vote for.', true);
		const by = voter.value.trim() ? { voter: voter.value.trim() } : {};
		return play.do((name) => client().tally(name).vote(choice.value, by), ({ status }) => VOTED[status]);
	}
	function draw({ options: names, counts, ballots, hidden, state }) {
		const rows = names.map((name, at) => {
			const share = ballots ? (counts[at] ?? 0) / ballots : 0;
			const filled = element('i');
			filled.style.setProperty('--share', share);
			return element('div', { className: 'option' }, element('span', {}, name),
				element('b', {}, hidden ? 'hidden' : integer(counts[at] ?? 0)), element('div', { className: 'track' }, filled));
		});
		standings.replaceChildren(...rows, element('p', { className: 'note' }, `${counted(ballots, 'ballot')}, ${state}`));
		if ([...choice.options].map(({ value }) => value).join('\n') !== names.join('\n')) {
			choice.replaceChildren(...names.map((name) => element('option', { value: name }, name)));
		}
	}
	const look = () => {
		play.say('');
		watch();
	};
	play.head.append(button('Watch', look));
	onEnter(look, play.name);
	onEnter(create, options);
	onEnter(vote, voter);
	play.name.oninput = forget;
	play.open = (name) => {
		play.name.value = name;
		look();
	};
	return play;
}

export class Playground {
	/** @param {() => object} client the connection in use; @param {(token: string) => void} show makes one with a token */
	constructor(client, show) {
		this.plays = { topic: topicPlay(client), counter: counterPlay(client), tally: tallyPlay(client) };
		this.state = element('p', { className: 'note', role: 'status' });
		const token = element('input', { type: 'password', autocomplete: 'off', spellcheck: false });
		const give = element('form', { className: 'bar' }, field('Token or API key', token, 'wide'), element('button', { className: 'main' }, 'Connect'));
		give.onsubmit = (event) => {
			event.preventDefault();
			show(token.value.trim());
		};
		this.give = give;
		this.element = element('div', {}, this.state, give,
			element('div', { className: 'plays' }, ...Object.values(this.plays).map((play) => play.element)));
	}

	/** The connection stands otherwise. */
	tell({ state, reason }, hasAccounts) {
		this.give.hidden = !hasAccounts;
		const is = { connected: 'Connected as any client is', connecting: 'Connecting', disconnected: 'Disconnected', failed: 'Refused' }[state];
		setText(this.state, reason && state !== 'connected' ? `${is}: ${reason}` : `${is}.`);
	}

	/** There is another connection: nothing is followed over it. */
	reset() {
		for (const play of Object.values(this.plays)) {
			play.follow(undefined);
			play.reset?.();
		}
	}
}

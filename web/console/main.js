/** The console: what the server says of itself, lists of what there is, and a connection as applications have it. */

import { Client } from './client.js';
import { showConnections } from './connections.js';
import { byId, element } from './elements.js';
import { Figures } from './figures.js';
import { setText } from './format.js';
import { showNames } from './names.js';
import { Playground } from './playground.js';
import { Refusals } from './refusals.js';

const PING_MS = 1_000;
const VIEWS = {
	topic: 'Topics', tally: 'Tallies', counter: 'Counters', group: 'Groups', presence: 'Presence',
	connections: 'Connections', playground: 'Playground',
};
const PILLS = { loading: 'Connecting', live: 'Live', disconnected: 'Disconnected' };

const figures = new Figures();
const refusals = new Refusals();
const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`;
let client, connection = { state: 'connecting' };
const playground = new Playground(() => client, connect);
let leave = () => {};

function mood(name) {
	document.body.dataset.mood = name;
	setText(byId('pill'), PILLS[name]);
}

function told() {
	playground.tell(connection, document.body.dataset.accounts === 'yes');
}

/** Makes the connection that the playground uses, and that is measured. */
function connect(token) {
	playground.reset();
	client?.close();
	const made = new Client(url, { token, failFast: false, clientName: 'tidewire-console' });
	client = made;
	made.on('state', (state) => {
		if (client !== made) return;
		connection = state;
		told();
	});
	// How it ends stands in its state.
	made.connect().catch(() => {});
}

/** What the server does, for as long as the page is open; the browser connects again by itself. */
function listen() {
	const events = new EventSource('/v1/live');
	events.onopen = () => refusals.forget();
	events.onerror = () => mood('disconnected');
	events.addEventListener('figures', ({ data }) => {
		figures.take(JSON.parse(data));
		mood('live');
		told();
	});
	events.addEventListener('refusals', ({ data }) => refusals.take(JSON.parse(data)));
}

async function measure() {
	if (client.state === 'connected' && document.visibilityState === 'visible') {
		// A connection that is lost meanwhile answers nothing, and says so elsewhere.
		await client.ping().then((tookMs) => figures.roundtrip(tookMs), () => {});
	}
	setTimeout(measure, PING_MS);
}

/** Shows a view; `open(row)`: names lead to the playground, where it has something for them. */
function show(view) {
	leave();
	for (const tab of byId('tabs').children) {
		const isChosen = tab.dataset.view === view;
		tab.setAttribute('aria-selected', isChosen);
		tab.tabIndex = isChosen ? 0 : -1;
	}
	const panel = byId('panel');
	panel.setAttribute('aria-label', VIEWS[view]);
	leave = () => {};
	if (view === 'playground') panel.replaceChildren(playground.element);
	else if (view === 'connections') leave = showConnections(panel);
	else leave = showNames(panel, view, (row) => opener(view, row));
	history.replaceState(null, '', `#${view}`);
}

function opener(view, row) {
	const play = playground.plays[view === 'group' ? 'topic' : view];
	return play && (() => {
		show('playground');
		play.open(row.name ?? row.topic);
		byId('panel').focus();
	});
}

/** Arrow keys go from tab to tab, as in every list of tabs. */
function addTabs() {
	const views = Object.keys(VIEWS);
	byId('tabs').append(...views.map((view) => element('button', {
		role: 'tab', data: { view }, aria: { controls: 'panel' }, onclick: () => show(view),
	}, VIEWS[view])));
	byId('tabs').onkeydown = ({ key, target }) => {
		const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
		if (!step) return;
		const next = (views.indexOf(target.dataset.view) + step + views.length) % views.length;
		show(views[next]);
		byId('tabs').children[next].focus();
	};
}

addTabs();
show(Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : 'topic');
connect();
listen();
measure();

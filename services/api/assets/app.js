// Sluice in the browser: live patches, ages, keys, palette. No inline code, no library; pages work without it.
'use strict';
(() => {
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy('sluice', { createHTML: (html) => html })
    : { createHTML: (html) => html };
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Server-made fragments only: they come from the functions that made the page, escaped there.
  const parse = (html) => {
    const template = document.createElement('template');
    template.innerHTML = policy.createHTML(html);
    return template.content;
  };

  // Ages count on even when nothing arrives.
  const age = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 600) return s % 60 ? `${Math.floor(s / 60)} m ${s % 60} s` : `${s / 60} m`;
    if (s < 3600) return `${Math.floor(s / 60)} m`;
    const m = Math.floor((s % 3600) / 60);
    if (s < 86400) return m ? `${Math.floor(s / 3600)} h ${m} m` : `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };
  const tick = () => {
    for (const time of $$('time[data-age]')) {
      const text = age(Date.now() - Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 1000);

  // What a node says apart from ages and form keys, to know whether it is new.
  const essence = (node) => node.outerHTML
    .replace(/(<time[^>]*data-age[^>]*>)[^<]*/g, '$1')
    .replace(/name="key" value="[^"]*"/g, '')
    .replace(/ class="([^"]*?) ?new"/g, ' class="$1"');

  const selecting = (node) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && node.contains(selection.anchorNode);
  };

  // Replaces the smallest parts: children with the same id and content stay, with focus, selection and open details.
  const replace = (old, fresh) => {
    if (essence(old) === essence(fresh)) return;
    const known = new Map($$(':scope [id]', old).map((node) => [node.id, node]));
    for (const node of $$('[id]', fresh)) {
      const before = known.get(node.id);
      if (!before || before.tagName !== node.tagName) { if (node.parentElement === fresh || node.matches('tr,li')) node.classList.add('new'); continue; }
      if (essence(before) === essence(node)) node.replaceWith(before);
      else if (node.matches('tr,li,.lane,.need')) node.classList.add('new');
    }
    for (const details of $$('details[open]', old)) {
      const twin = details.id && $(`#${CSS.escape(details.id)}`, fresh);
      if (twin) twin.open = true;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const way = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute('href') && `[href="${CSS.escape(focused.getAttribute('href'))}"]`);
    const scrolled = $$('.scroll, .tree', old).map((node) => [node.scrollLeft, node.scrollTop]);
    old.replaceWith(fresh);
    if (way) { const again = $(way, fresh.parentNode); if (again) again.focus({ preventScroll: true }); }
    $$('.scroll, .tree', fresh).forEach((node, i) => { if (scrolled[i]) [node.scrollLeft, node.scrollTop] = scrolled[i]; });
    refilter();
  };

  const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
  const patch = ({ op, id, html }) => {
    const target = document.getElementById(id);
    if (!target) return;
    if (op === 'clear') { target.replaceChildren(); return; }
    const content = parse(html);
    if (op === 'append') {
      const follow = $('#follow');
      const stay = follow ? follow.checked : atEnd();
      const none = $('#log-empty');
      if (none) none.remove();
      target.append(content);
      if (stay && target.lastElementChild) target.lastElementChild.scrollIntoView({ block: 'end' });
      return;
    }
    if (op === 'prepend') { target.prepend(content); return; }
    if (op === 'remove') { target.remove(); return; }
    const fresh = content.firstElementChild;
    if (fresh && !selecting(target)) replace(target, fresh);
  };

  // One stream a page. Bursts are joined per frame.
  const page = document.body.dataset.page;
  let waiting = [];
  let lostAt = 0;
  let source = null;
  let lastId = '';
  const flush = () => { const now = waiting; waiting = []; now.forEach(patch); tick(); };
  const connect = () => {
    if (source) source.close();
    source = new EventSource(`/ui/stream?page=${encodeURIComponent(page)}&from=${lastId}`);
    source.addEventListener('patch', (event) => {
      lastId = event.lastEventId;
      if (!waiting.length) requestAnimationFrame(flush);
      waiting.push(JSON.parse(event.data));
      if (document.hidden) flush();
    });
    source.addEventListener('open', () => { lostAt = 0; const conn = $('#conn'); if (conn) conn.hidden = true; });
    source.addEventListener('error', () => {
      lostAt = lostAt || Date.now();
      setTimeout(() => {
        if (!lostAt) return;
        const conn = $('#conn');
        if (!conn) return;
        conn.hidden = false;
        $('[data-lost]', conn).textContent = `at ${new Date(lostAt).toISOString().slice(11, 19)} UTC. What you see is from then. Trying again.`;
      }, 2000);
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 4000);
    });
    const again = $('[data-retry]');
    if (again) again.onclick = connect;
  };
  const disconnect = () => { if (source) source.close(); source = null; lostAt = 0; };
  // A browser has six connections for all tabs of a host: those that nobody sees give theirs back.
  let unseen = 0;
  if (page) {
    connect();
    window.addEventListener('pagehide', disconnect);
    window.addEventListener('pageshow', (event) => { if (event.persisted) connect(); });
    document.addEventListener('visibilitychange', () => {
      clearTimeout(unseen);
      if (document.hidden) unseen = setTimeout(disconnect, 15000);
      else if (!source) connect();
    });
  }

  // Filters of lists: on this page, at once.
  const filter = (input) => {
    const text = input.value.trim().toLowerCase();
    for (const row of $$(input.dataset.filter)) row.hidden = text !== '' && !row.textContent.toLowerCase().includes(text);
  };
  const refilter = () => $$('[data-filter]').forEach((input) => { if (input.value) filter(input); });
  document.addEventListener('input', (event) => { if (event.target.matches('[data-filter]')) filter(event.target); });
  document.addEventListener('submit', (event) => {
    if (event.target.matches('form[role=search]')) { event.preventDefault(); return; }
    // Once is enough; the key in the form makes a second one harmless anyway.
    setTimeout(() => $$('button', event.target).forEach((button) => { button.disabled = true; }));
  });

  // Find in log.
  let matches = [];
  let match = -1;
  const mark = (input) => {
    for (const old of $$('#log mark')) { const parent = old.parentNode; old.replaceWith(...old.childNodes); parent.normalize(); }
    matches = [];
    match = -1;
    const text = input.value.toLowerCase();
    if (text.length > 1) {
      const walker = document.createTreeWalker($(input.dataset.find), NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) if (walker.currentNode.parentNode.closest('span') && walker.currentNode.data.toLowerCase().includes(text)) found.push(walker.currentNode);
      for (const node of found.slice(0, 2000)) {
        const range = document.createRange();
        const from = node.data.toLowerCase().indexOf(text);
        range.setStart(node, from);
        range.setEnd(node, from + text.length);
        const element = document.createElement('mark');
        range.surroundContents(element);
        matches.push(element);
      }
    }
    step(1);
  };
  const step = (by) => {
    const label = $('[data-found]');
    if (!matches.length) { if (label) label.textContent = ''; return; }
    match = (match + by + matches.length) % matches.length;
    matches[match].scrollIntoView({ block: 'center' });
    if (label) label.textContent = `${match + 1} of ${matches.length}`;
  };
  let typing = 0;
  document.addEventListener('input', (event) => {
    if (!event.target.matches('[data-find]')) return;
    clearTimeout(typing);
    typing = setTimeout(() => mark(event.target), 150);
  });

  // Clicks that are not links.
  document.addEventListener('click', (event) => {
    const target = event.target.closest('[data-dismiss],[data-next],[data-copy],[aria-disabled=true]');
    if (!target) return;
    if (target.matches('[aria-disabled=true]')) { event.preventDefault(); return; }
    if (target.matches('[data-dismiss]')) target.closest('.toast').remove();
    if (target.matches('[data-next]')) step(1);
    if (target.matches('[data-copy]') && navigator.clipboard) navigator.clipboard.writeText(target.dataset.copy);
  });
  for (const toast of $$('[data-toast=ok]')) setTimeout(() => toast.remove(), 6000);

  // Palette.
  const palette = $('#palette');
  const query = $('#palette-q');
  const list = $('#palette-list');
  const options = () => $$('[role=option]', list);
  const choose = (at) => {
    const all = options();
    if (!all.length) return;
    const index = (at + all.length) % all.length;
    all.forEach((option, i) => {
      option.id = `option-${i}`;
      option.setAttribute('aria-selected', i === index ? 'true' : 'false');
    });
    query.setAttribute('aria-activedescendant', `option-${index}`);
    all[index].scrollIntoView({ block: 'nearest' });
  };
  const chosen = () => options().findIndex((option) => option.getAttribute('aria-selected') === 'true');
  const search = async () => {
    const asked = query.value;
    const answer = await fetch(`/ui/find?q=${encodeURIComponent(asked)}`, { headers: { accept: 'text/html' } });
    if (!answer.ok || query.value !== asked) return;
    list.replaceChildren(parse(await answer.text()));
    choose(0);
  };
  if (palette) {
    palette.addEventListener('toggle', (event) => { if (event.newState === 'open') { query.value = ''; query.focus(); search(); } });
    query.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(search, 80); });
    query.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowDown') { event.preventDefault(); choose(chosen() + 1); }
      if (event.key === 'ArrowUp') { event.preventDefault(); choose(chosen() - 1); }
      if (event.key === 'Enter') { const option = options()[chosen()]; if (option) location.href = option.dataset.href; }
    });
    list.addEventListener('click', (event) => { const option = event.target.closest('[role=option]'); if (option) location.href = option.dataset.href; });
  }

  // Keys. Never in a field.
  const places = { h: '/', a: '/apps', u: '/runs', d: '/deliveries', l: '/audit', q: '/dlq' };
  let going = 0;
  const move = (by) => {
    const all = $$('[data-nav],.node[tabindex]').filter((node) => node.offsetParent);
    if (!all.length) return;
    const at = all.indexOf(document.activeElement);
    all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))].focus();
  };
  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k' && palette) { event.preventDefault(); palette.togglePopover(); return; }
    const field = event.target.matches('input:not([type=checkbox]):not([type=radio]),textarea,select');
    if (event.key === 'Escape') {
      const close = $('[data-key=Escape]');
      if (palette && palette.matches(':popover-open')) return;
      if (field && event.target.type === 'search') { event.target.blur(); return; }
      if (close) close.click();
      return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey || (palette && palette.matches(':popover-open'))) return;
    if (going && Date.now() - going < 1200 && places[event.key]) { going = 0; location.href = places[event.key]; return; }
    going = 0;
    const keyed = $$('[data-key]').find((node) => node.dataset.key === event.key && node.getAttribute('aria-disabled') !== 'true');
    if (keyed) { event.preventDefault(); keyed.click(); return; }
    switch (event.key) {
      case 'g': going = Date.now(); break;
      case '/': { const input = $('[aria-keyshortcuts="/"]'); if (input) { event.preventDefault(); input.focus(); } break; }
      case '?': location.href = '/help'; break;
      case 'j': case 'ArrowDown': if ($('[data-nav]')) { event.preventDefault(); move(1); } break;
      case 'k': case 'ArrowUp': if ($('[data-nav]')) { event.preventDefault(); move(-1); } break;
      case 'n': step(1); break;
      case 'N': step(-1); break;
      case 'e': { const at = $('#log .at'); if (at) at.scrollIntoView({ block: 'center' }); break; }
      case 'f': { const follow = $('#follow'); if (follow) { follow.checked = !follow.checked; if (follow.checked) window.scrollTo(0, document.body.scrollHeight); } break; }
      case 'v': { const other = $('input[name=v]:not(:checked)'); if (other) other.checked = true; break; }
      default: break;
    }
  });
})();

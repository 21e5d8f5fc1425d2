// Shows the chat and plays the person. Text is only ever put into text nodes.
"use strict";
const $ = (id) => document.getElementById(id);
const TAGS = { bold: "b", italic: "i", underline: "u", strikethrough: "s", code: "code", pre: "pre", blockquote: "blockquote", expandable_blockquote: "blockquote" };
let known = null;

const el = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

const post = async (path, body) => {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const json = await answer.json();
  if (!answer.ok) toast(json.error);
  return json;
};

let fading;
const toast = (text) => {
  $("toast").textContent = text || "";
  clearTimeout(fading);
  fading = setTimeout(() => { $("toast").textContent = ""; }, 6000);
};

// Entities nest and count UTF-16 units, as JavaScript's strings do.
const formatted = (text, entities, from, to) => {
  const out = document.createDocumentFragment();
  let at = from;
  while (entities.length) {
    const entity = entities[0];
    const end = Math.min(entity.offset + entity.length, to);
    const inside = entities.filter((e) => e !== entity && e.offset < end);
    entities = entities.filter((e) => e.offset >= end);
    out.append(text.slice(at, entity.offset));
    const safe = entity.type === "text_link" && /^https?:/.test(entity.url);
    const node = safe ? el("a") : el(TAGS[entity.type] || "span");
    if (safe) { node.href = entity.url; node.rel = "noreferrer"; node.target = "_blank"; }
    node.append(formatted(text, inside, entity.offset, end));
    out.append(node);
    at = end;
  }
  out.append(text.slice(at, to));
  return out;
};

const press = async (message, button) => {
  const { callback_query_id: id } = await post("/control/press", { chat: message.chat_id, message: message.message_id, user: Number($("user").value), button });
  for (let i = 0; id && i < 60; i++) {
    const answer = await (await fetch("/control/answers/" + id)).json();
    if (answer.answered) { if (answer.text) toast(answer.text); return; }
    await new Promise((done) => setTimeout(done, 250));
  }
};

const card = (message, state) => {
  const mine = message.from.id !== state.bot.id;
  const node = el("article", mine ? "mine" : "");
  node.id = "m" + message.message_id;
  node.append(el("div", "who", message.from.first_name));
  const text = el("div", "text");
  text.append(formatted(message.text, message.entities, 0, message.text.length));
  node.append(text);
  const rows = (message.reply_markup && message.reply_markup.inline_keyboard) || [];
  const keys = el("div", "keys");
  for (const row of rows) {
    const line = el("div", "row");
    for (const key of row) {
      const link = key.url && /^https?:/.test(key.url);
      const button = el(link ? "a" : "button", "", key.text);
      if (link) { button.href = key.url; button.target = "_blank"; button.rel = "noreferrer"; }
      else button.addEventListener("click", () => press(message, key.callback_data));
      line.append(button);
    }
    keys.append(line);
  }
  if (rows.length) node.append(keys);
  const time = new Date((message.edit_date || message.date) * 1000).toLocaleTimeString();
  node.append(el("div", "when", (message.edit_date ? "edited " : "") + time));
  return node;
};

const options = (select, rows) => {
  const had = select.value || new URLSearchParams(location.search).get(select.id);
  select.replaceChildren(...rows.map(([value, label]) => { const o = el("option", "", label); o.value = value; return o; }));
  if (rows.some(([value]) => String(value) === had)) select.value = had;
};

const show = (state) => {
  $("bot").textContent = "@" + state.bot.username;
  options($("user"), state.users.map((u) => [u.id, u.first_name]));
  options($("chat"), state.chats.map((c) => [c.id, c.title || "private: " + c.first_name]));
  $("commands").replaceChildren(...state.commands.flat().map((c) => { const o = el("option"); o.value = "/" + c.command; o.label = c.description; return o; }));
  const end = innerHeight + scrollY >= document.body.scrollHeight - 80;
  const chat = Number($("chat").value);
  $("log").replaceChildren(...state.messages.filter((m) => m.chat_id === chat).map((m) => card(m, state)));
  if (end) scrollTo(0, document.body.scrollHeight);
};

const follow = async () => {
  for (;;) {
    try {
      const query = known ? `?version=${known.version}&wait=25` : "";
      known = await (await fetch("/control/state" + query)).json();
      show(known);
    } catch {
      toast("The fake does not answer; trying again.");
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
};

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  post("/control/text", { chat: Number($("chat").value), user: Number($("user").value), text: $("text").value });
  $("text").value = "";
});
for (const id of ["chat", "user"]) $(id).addEventListener("change", () => known && show(known));
follow();

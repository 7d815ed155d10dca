/** A history as a page that one can read: what broke which rule, and a line of time with faults, processes and the calls that they met. */
import type { Violation } from "./checker.ts";
import type { Happened, History } from "./history.ts";

/** Around a violation, so much is shown. */
const AROUND_MS = 2000;
/** Of one violation, and violations of one rule. */
const MAX_LINES = 200;
const MAX_OF_RULE = 15;

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** An event in words; undefined of what is told by another one. */
function wordsOf(each: Happened): string | undefined {
  switch (each.e) {
    case "client":
      return `client ${each.client} begins: ${each.kind}, version ${each.version}`;
    case "ask":
      return `asks for ${each.workers} workers as ${each.project}`;
    case "lease":
      return `has ${each.project}: ${each.parts.map(({ node, workers, fabric }) => `${workers} of ${node} by ${fabric}`).join(", ")}`;
    case "replaced":
      return `${each.project} has ${each.part.workers} of ${each.part.node} by ${each.part.fabric} in the place of lost ones`;
    case "takeovers":
      return `a manager has begun to lead ${each.count} times`;
    case "no-lease":
      return `gets no lease ${each.project}: ${each.code}: ${each.message}`;
    case "lease-over":
      return `${each.project} is over: ${each.how}`;
    case "call":
      return `call ${each.call} (${each.kind}) on ${each.project}${each.idempotent ? ", may run again" : ""}`;
    case "end":
      return `call ${each.call}: ${each.outcome}${each.right === false ? ", wrong" : ""} ${each.code ?? ""} ${each.message ?? ""}`;
    case "effect":
      return `call ${each.call} of client ${each.client} runs`;
    case "done":
      return `client ${each.client} is done`;
    case "exit":
      return `${each.who} ends${each.meant ? "" : " by itself"}: ${each.signal ?? each.code}`;
    case "fault":
      return `${each.fault}: ${each.target} ${each.detail ?? ""}`;
    case "start":
      return `${each.who} starts, version ${each.version}`;
    case "calm":
      return "no more faults";
    case "stuck":
      return `${each.who} is stuck: ${each.what}`;
    case "bill":
      return `bill of ${each.project} on ${each.node}: ${each.calls} calls, ${(each.coreNs / 1e6).toFixed(0)} ms, ${each.reason}${each.presumed ? ", presumed" : ""}`;
    case "left":
      return `left: ${each.what}`;
  }
}

/** The first ones of each rule: one fault can break a rule hundreds of times. */
export function someOfEach(violations: readonly Violation[]): Violation[] {
  const byRule = Map.groupBy(violations, ({ rule }) => rule);
  return [...byRule.values()].flatMap((all) => all.slice(0, MAX_OF_RULE));
}

/** What belongs to a violation: all of its call, of its lease and of its client around it, and faults and starts. */
function around(history: History, violation: Violation): Happened[] {
  const { t, client, call, what } = violation;
  const project = /\bc\d+-\d+\b/.exec(what)?.[0];
  const nodes = new Set(
    history.flatMap((each) =>
      each.e === "lease" && each.project === project ? each.parts.map(({ node }) => node) : [],
    ),
  );
  const isOf = (each: Happened): boolean =>
    call !== undefined
      ? "call" in each && each.call === call && "client" in each && each.client === client
      : project !== undefined && "project" in each && each.project === project && each.e !== "bill";
  const times = history.filter(isOf).map((each) => each.t);
  // A bill comes last, and is of an earlier time.
  const at = times.length > 0 ? times : [t];
  const [from, to] = [Math.min(...at) - AROUND_MS, Math.max(...at) + AROUND_MS];
  return history.filter((each) => {
    if ("project" in each && each.project === project && each.e !== "call") return true;
    if (each.t < from || each.t > to) return false;
    if (each.e === "call" || each.e === "end" || each.e === "effect")
      return each.client === client && each.call === call;
    const who = each.e === "fault" ? each.target : "who" in each ? each.who : "";
    const node = /\bn\d+$/.exec(who)?.[0];
    return who !== "" && (node === undefined || nodes.size === 0 || nodes.has(node));
  });
}

const STYLE = `:root { color-scheme: light dark } body { font: 14px sans-serif; margin: 1em; max-width: 110em } table { border-collapse: collapse }
td { padding: 1px 8px 1px 0; vertical-align: top; font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere } td:nth-child(-n+2) { overflow-wrap: normal }
.fault td { background: light-dark(#fde8d8, #54331c) } .bill td { background: light-dark(#e8f0fd, #1f3354) } .end td { background: light-dark(#e8f8e8, #1d4020) }
h2 { font-size: 1.1em; margin-top: 2em }`;

/** The page, in HTML. */
export function pageOf(history: History, violations: readonly Violation[], title: string): string {
  const start = history[0]?.t ?? 0;
  const row = (each: Happened): string => {
    const words = wordsOf(each);
    return words === undefined
      ? ""
      : `<tr class="${each.e}"><td>${((each.t - start) / 1000).toFixed(3)}</td><td>${escape(each.by)}</td><td>${escape(words)}</td></tr>`;
  };
  const sections = someOfEach(violations).map((violation, i) => {
    const lines = around(history, violation).slice(0, MAX_LINES).map(row).join("\n");
    const at = ((violation.t - start) / 1000).toFixed(3);
    return `<h2 id="v${i}">${i + 1}. ${escape(violation.rule)}</h2><p>at ${at} s: ${escape(violation.what)}</p><table>${lines}</table>`;
  });
  const faults = history.filter(({ e }) => e === "fault" || e === "start" || e === "calm");
  const list = violations.map(({ rule }) => rule);
  const counts = [...new Set(list)].map(
    (rule) => `<li>${escape(rule)}: ${list.filter((one) => one === rule).length}</li>`,
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(title)}</title><style>${STYLE}</style>
<h1>${escape(title)}</h1><ul>${counts.join("")}</ul>${sections.join("\n")}
<h2>All faults</h2><table>${faults.map(row).join("\n")}</table></html>\n`;
}

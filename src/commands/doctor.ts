/** `rfaas doctor`: what is found on the machine, and which commands are worth trying next; or the way to a node. */
import { accessSync, constants, existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { Type } from "@sinclair/typebox";
import type { Finding } from "../base/finding.ts";
import { selfCommand } from "../base/process.ts";
import { shellWord } from "../base/show.ts";
import { ManagerSubscription } from "../client/cluster/manager-link.ts";
import { type Advice, type Situation, adviceFor } from "../doctor/advice.ts";
import { examine } from "../doctor/machine.ts";
import { machineLimits } from "../executor/machine/limits.ts";
import { fabrics } from "../fabric/registry.ts";
import { LeaseRefused, UsageError } from "../base/errors.ts";
import { address, truth } from "../options/fields.ts";
import { flagsOf } from "../options/flags.ts";
import { examineWay } from "./doctor/way.ts";
import { defineCommand } from "./shared/command.ts";
import { fabricFields } from "./shared/fabric-options.ts";
import { jsonField } from "./shared/fields.ts";
import { exportsOf, usualSockets } from "./shared/here.ts";
import { Progress, progressFields } from "./shared/progress.ts";

/** Where `rfaas manager` listens unless it is told otherwise. */
const USUAL_MANAGER = "127.0.0.1:7800";
const MANAGER_LIMIT_MS = 300;
/** Files of a folder that are looked into. */
const MAX_FILES = 100;
const MAX_BYTES = 1024 * 1024;

/** Of the way to a node. */
const way = {
  measure: Type.Optional(
    truth({
      description: "with --node: take a lease over each fabric that both have, and measure calls",
    }),
  ),
  ...fabricFields,
};
const Options = Type.Object({
  node: Type.Optional(
    address({
      description: "say which fabric a lease of this node takes, and why not a better one",
    }),
  ),
  ...way,
  ...jsonField(),
  ...progressFields,
});

export const doctor = defineCommand({
  usage: "doctor",
  summary: "say what this machine can do, and how to fix what it cannot",
  description: `Looks at what rfaas needs and what makes it fast, then names three commands that are worth trying next, by what it has found: on the
machine, in this folder, and of nodes and managers that run. Exits with 1 when something is missing without which it cannot run.

With --node it looks at the way from this machine to a node: which fabric a lease takes, and what stands against each other one, with
what to do. RFAAS_TOKEN is shown where the node asks for a token. Exits with 3 when no fabric can be taken. With --measure it takes
leases over each fabric that both have, one after another, for some seconds: the median round trip of a call with 8 bytes, to a worker
that spins and to one that sleeps, and the bandwidth of inputs of 1 MiB. It says of each that cannot be measured why, and exits then
as a command that takes such a lease does.`,
  options: Options,
  examples: [
    ["rfaas doctor", "a line for each finding, then what to try"],
    ["rfaas doctor --node 10.0.0.5:7700 --measure", "the way to a node, and what calls cost on it"],
  ],
  async run(_args, options) {
    if (options.node !== undefined) return await examineWay(options.node, options);
    const stray = flagsOf(Type.Object(way)).find(
      ({ name }) => (options as Readonly<Record<string, unknown>>)[name] !== undefined,
    );
    if (stray) throw new UsageError(`--${stray.long} is about the way to a node; give --node, too`);
    using progress = Progress.of(options);
    const findings = await examine((fabric) => progress.still(`trying the fabric ${fabric}`));
    progress.step("looking for nodes");
    const next = adviceFor(await situationOf(findings));
    progress.end();
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ findings, next })}\n`
        : `${findings.map(line).join("")}\nTry next:\n${next.map(suggestion).join("")}`,
    );
    if (findings.some(({ state }) => state === "missing")) process.exitCode = 1;
  },
});

const MARKS = { ok: "ok  ", slow: "slow", missing: "MISS", off: "off " };

function line({ state, name, found, fix }: Finding): string {
  return `${MARKS[state]}  ${name.padEnd(14)} ${found}${fix ? `\n${" ".repeat(21)}fix: ${fix}` : ""}\n`;
}

const suggestion = ({ command, why }: Advice): string => `  ${command}\n      ${why}\n`;

async function situationOf(findings: readonly Finding[]): Promise<Situation> {
  const runs = findings.every(({ state }) => state !== "missing");
  const [node] = runs ? usualSockets() : [];
  const manager = runs ? await answeringManager() : undefined;
  const files = filesHere();
  const module = await moduleAmong(files);
  const client = files.find(
    (file) => isSource(file) && mentions(file, /\bfrom "rfaas"|\bfrom 'rfaas'/),
  );
  const fabric = fabrics.find(
    (one) =>
      one.needs !== undefined &&
      findings.some(({ name, state }) => name === `fabric ${one.name}` && state === "ok"),
  );
  const newName = freeName();
  return {
    findings,
    program: programName(),
    cores: runs ? machineLimits().cores.value : 0,
    tests: files.some((file) => file.endsWith(".test.ts") && mentions(file, /rfaas\/testing/)),
    fixes: findings.flatMap(fixOf),
    ...(fabric === undefined ? {} : { fabric: { name: fabric.name, title: fabric.title } }),
    ...(module === undefined ? {} : { module }),
    ...(client === undefined ? {} : { client }),
    ...(node === undefined ? {} : { node }),
    ...(manager === undefined ? {} : { manager }),
    ...(newName === undefined ? {} : { newName }),
  };
}

/** As it can be typed here: by its name, where the shell finds it so. */
function programName(): string {
  if (Bun.which("rfaas") !== null) return "rfaas";
  return selfCommand([])
    .map((word) => {
      const near = relative(process.cwd(), word);
      return near.startsWith("..") || near.length > word.length
        ? word
        : near.includes("/")
          ? near
          : `./${near}`;
    })
    .map(shellWord)
    .join(" ");
}

async function answeringManager(): Promise<string | undefined> {
  const named = process.env["RFAAS_MANAGER"];
  const manager = named || USUAL_MANAGER;
  // Any user of the machine may have that port: a token goes where its owner sends it.
  const token = process.env["RFAAS_TOKEN"] || null;
  const patience = { timeoutMs: MANAGER_LIMIT_MS, signal: undefined };
  try {
    (await ManagerSubscription.connect(manager, named ? token : null, patience)).close();
    return manager;
  } catch (error) {
    // One that wants the token answers, too.
    return !named && token !== null && error instanceof LeaseRefused ? manager : undefined;
  }
}

function filesHere(): string[] {
  try {
    return readdirSync(".").toSorted().slice(0, MAX_FILES);
  } catch {
    return [];
  }
}

/** The first module that takes bytes, or is written with `rfaas/function`. */
async function moduleAmong(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    if (!isSource(file) || !mentions(file, /rfaas\/function|Uint8Array/)) continue;
    const exported = await exportsOf(file).catch(() => []);
    if (exported && exported.length > 0) return file;
  }
  return undefined;
}

const isSource = (file: string): boolean => /^[^.].*(?<!\.test|\.d|\.config)\.[jt]s$/.test(file);

function mentions(file: string, pattern: RegExp): boolean {
  try {
    const about = statSync(file);
    // Reading a pipe would not end.
    return about.isFile() && about.size <= MAX_BYTES && pattern.test(readFileSync(file, "utf8"));
  } catch {
    return false;
  }
}

/** Of a folder that is not there yet, where one can be made. */
function freeName(): string | undefined {
  if (!writable(".")) return undefined;
  return ["hello", "hello-2", "hello-3"].find((name) => !existsSync(join(".", name)));
}

/** A setting of the kernel that this user may change. */
function fixOf({ name, state, fix }: Finding): Advice[] {
  const [, file] = /^echo \w+ > (\/\S+)$/.exec(fix ?? "") ?? [];
  return state !== "ok" && file !== undefined && writable(file)
    ? [{ command: fix!, why: `mends: ${name}` }]
    : [];
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** `rfaas doctor --node`: which fabric a lease of a node takes, why not a better one, and what calls cost over each. */
import { type Probed, probe } from "../../../bench/clients/probe.ts";
import { DEFAULT_ANSWER_TIMEOUT_MS } from "../../base/waiting.ts";
import { EXIT, ProtocolError, RfaasError, exitCode } from "../../base/errors.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import { TokenSource } from "../../client/tokens/token-source.ts";
import { openNode } from "../../client/invoker.ts";
import { NodeConnection } from "../../client/node/connection.ts";
import { parseAddress } from "../../control/address.ts";
import { type Obstacle, type Sides, type Verdict, verdictsOf } from "../../doctor/choice.ts";
import {
  type FabricName,
  type FabricOptions,
  askedFor,
  considered,
  optionsOf,
  surveyAll,
} from "../../fabric/registry.ts";
import { flagsOf } from "../../options/flags.ts";
import { GetStatus } from "../../protocol/messages.ts";
import { readFabric } from "../shared/fabric-options.ts";
import { Progress, connecting } from "../shared/progress.ts";
import { printable, table } from "../shared/table.ts";

interface WayOptions extends Pick<FabricOptions, "fabric"> {
  measure?: boolean;
  json?: boolean;
  quiet?: boolean;
  noProgress?: boolean;
}

type Measured = { fabric: FabricName } & (
  Probed | { error: { code: string | number; message: string } }
);

export async function examineWay(node: string, options: WayOptions): Promise<void> {
  const asked = readFabric(options);
  using progress = Progress.of(options);
  progress.step(connecting({ node }));
  const { about, verdicts } = await lookAt(node, asked);
  progress.end();
  const taken = verdicts.find(({ state }) => state === "taken")?.name ?? null;
  if (!options.json) process.stdout.write(inWords(about, verdicts));
  if (taken === null) process.exitCode = EXIT.noExecutor;
  const measured = options.measure ? await measure(node, asked, verdicts, progress) : undefined;
  progress.end();
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ node: about, fabric: taken, fabrics: verdicts, ...(measured ? { measured } : {}) })}\n`,
    );
  else if (measured && measured.length > 0) process.stdout.write(`\n${tableOf(measured)}`);
}

/** Asks both sides. */
async function lookAt(node: string, asked: FabricOptions) {
  const address = parseAddress(node);
  const here = surveyAll(asked);
  using tokens = new TokenSource({});
  const connection = await NodeConnection.connect(address, [], tokens.text);
  try {
    const { version, cores, memoryBytes } = connection.welcome;
    const status = await connection.requests.ask(
      GetStatus,
      { fabrics: true },
      { timeoutMs: DEFAULT_ANSWER_TIMEOUT_MS },
    );
    const { freeCores, freeMemoryBytes, leases } = status;
    if (!status.fabrics)
      throw new ProtocolError(
        `the node at ${connection.address} (rfaas ${printable(version)}) does not say which fabrics it has; update the node`,
      );
    return {
      about: {
        ...{ address: connection.address, version, cores, freeCores },
        ...{ memoryBytes, freeMemoryBytes, leases },
      },
      verdicts: verdictsOf({
        here,
        unasked: considered({}, address.kind !== "unix").map(({ name }) => name),
        wanted: wantedBy(asked),
        node: status.fabrics,
      }),
    };
  } finally {
    await connection.close();
  }
}

/** The fabric that is asked for, and the flag that does. */
function wantedBy(asked: FabricOptions): Sides["wanted"] {
  if (asked.fabric !== undefined) return { name: asked.fabric, by: `--fabric ${asked.fabric}` };
  const fabric = askedFor(asked);
  if (!fabric?.options) return undefined;
  const option = fabric.askedBy(optionsOf(fabric, asked));
  const { long } = flagsOf(fabric.options).find(({ name }) => name === option)!;
  return { name: fabric.name, by: `--${long}` };
}

type About = Awaited<ReturnType<typeof lookAt>>["about"];

/** One fabric after another: they would disturb each other. */
async function measure(
  node: string,
  asked: FabricOptions,
  verdicts: readonly Verdict[],
  progress: Progress,
): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const { name: fabric, state } of verdicts) {
    if (state === "impossible") continue;
    try {
      await using rf = await openNode({ ...asked, node, fabric });
      const probed = await probe(rf, (what) => progress.still(`measuring ${fabric}: ${what}`));
      measured.push({ fabric, ...probed });
    } catch (error) {
      if (!(error instanceof RfaasError)) throw error;
      process.exitCode ||= exitCode(error);
      measured.push({ fabric, error: { code: error.code, message: error.message } });
    }
  }
  return measured;
}

const MARKS = { taken: "take", possible: "also", impossible: "no  " };
const NAME_WIDTH = 14;
const INDENT = " ".repeat(MARKS.taken.length + 2 + NAME_WIDTH + 1);

function inWords(about: About, verdicts: readonly Verdict[]): string {
  const taken = verdicts.find(({ state }) => state === "taken");
  const node = `${about.address}: rfaas ${printable(about.version)}, ${about.freeCores} of ${countOf(about.cores, "core")} and ${formatBytes(about.freeMemoryBytes)} of ${formatBytes(about.memoryBytes)} free\n`;
  const choice = taken
    ? `A lease takes ${taken.name} (${taken.title}).\n`
    : "No lease can be taken: no fabric is left that both sides can use.\n";
  return `${node}${choice}\n${verdicts.map(line).join("")}`;
}

function line({ name, title, state, obstacles }: Verdict): string {
  const told = obstacles.length === 0 ? [title] : onBothSides(obstacles).map(inLines);
  return `${MARKS[state]}  ${name.padEnd(NAME_WIDTH)} ${told.join(`\n${INDENT}`)}\n`;
}

/** What stands against a fabric here and on the node alike is said once. */
function onBothSides(obstacles: readonly Obstacle[]): readonly Obstacle[] {
  const [here, there, ...more] = obstacles;
  const reason = here?.reason.replace(/^here: /, "");
  if (there === undefined || more.length > 0 || there.reason !== `on the node: ${reason}`)
    return obstacles;
  return [
    {
      reason: `on both sides: ${reason}`,
      ...(here?.fix === undefined ? {} : { fix: `on both sides: ${here.fix}` }),
    },
  ];
}

/** What the node has said is foreign text. */
function inLines({ reason, fix }: Obstacle): string {
  return printable(reason) + (fix === undefined ? "" : `\n${INDENT}fix: ${printable(fix)}`);
}

function tableOf(measured: readonly Measured[]): string {
  const rows = measured.map((one) =>
    "error" in one
      ? [one.fabric, "-", "-", "-"]
      : [
          one.fabric,
          ...[one.hot_p50_ns, one.warm_p50_ns].map((ns) => (ns / 1000).toFixed(2)),
          one.bytes_per_s === null ? "-" : (one.bytes_per_s / 2 ** 20).toFixed(0),
        ],
  );
  const failed = measured.flatMap((one) =>
    "error" in one
      ? [`${one.fabric} was not measured: ${printable(one.error.message)}\n`]
      : one.bytes_per_s === null
        ? [`${one.fabric} moves no bytes, so it has no bandwidth\n`]
        : [],
  );
  const header = ["fabric", "8 B hot[usec]", "8 B warm[usec]", "1 MiB in[MiB/s]"];
  return table([header, ...rows]) + failed.join("");
}

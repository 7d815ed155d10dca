import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox";
import { busyInWords, busyUsers } from "../../bench/machine/busy.ts";
import { type Format, RowWriter } from "../../bench/rows.ts";
import type { Bench, Scenario } from "../../bench/scenario.ts";
import { SCENARIOS } from "../../bench/scenarios/registry.ts";
import { UsageError } from "../base/errors.ts";
import { openNode } from "../client/invoker.ts";
import { InvokerOptions } from "../client/options/connect-options.ts";
import { flagDefault } from "../options/describe.ts";
import { truth, worded } from "../options/fields.ts";
import { flagsOf, inherited } from "../options/flags.ts";
import { defineCommand } from "./shared/command.ts";
import { fabricFields, readFabric } from "./shared/fabric-options.ts";
import { jsonField, requireOneOf } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { Progress, connecting, progressFields } from "./shared/progress.ts";

const NAMES = SCENARIOS.map(({ name }) => name);

const Common = Type.Object({
  node: worded(InvokerOptions.properties.node, { description: "measure a running node" }),
  ...jsonField("one JSON object a row"),
  csv: Type.Optional(truth({ description: "comma-separated values with a header" })),
  insecure: InvokerOptions.properties.insecure,
  ...fabricFields,
  ...progressFields,
});
const Options = Type.Object({ ...fieldsOf(SCENARIOS), ...Common.properties });

export const bench = defineCommand({
  usage: `bench <${NAMES.join("|")}>`,
  summary: "measure calls beside the floor of this machine",
  description: `${SCENARIOS.map(({ name, summary }) => `${name.padEnd(12)}${summary}`).join("\n")}

Windows of rfaas alternate with windows of the floor: a raw C ping-pong of the same bytes over the same kind of memory between
the same two cores (for warm polling, one that sleeps on a futex). Over RDMA it is a ping-pong of writes with immediate on the same
device, with a call's header and queue pairs (for warm polling, driven by completion events), and ib_write_lat, where that is
installed, is reported beside it. Over TCP it is a ping-pong of messages on one connection. In shared memory both wait 0 to 300 ns before they store, in steps of 10, and are compared at the
same delay, since a round trip depends on the moment at which a store meets the other side's polls. The level is near where the
floor takes less than 200 ns, else far. Client and worker are pinned. Every window has fresh memory,
every result is checked, and the figures are medians: over pairs of windows for overhead and ratio. A row marked noisy says
more of the machine than of rfaas; run it again on a quiet one. A run that starts while others use the machine says who they are,
and so do its rows in JSON (busy).

Times are whole round trips, where perftest's latency is half of one.`,
  options: Options,
  examples: [
    ["rfaas bench latency", "8 bytes, hot"],
    [
      "rfaas bench latency -s 1MiB --payload touch",
      "a payload in place costs nothing to call with",
    ],
    ["rfaas bench latency --module lib.so#echo", "what a native function costs to call"],
    [
      "rfaas bench throughput -s 64 --depth 32 --json",
      "calls per second of one worker, for a program",
    ],
  ],
  async run(args, options) {
    const [kind, ...more] = args;
    if (more.length > 0) throw new UsageError(`bench takes one argument; "${more[0]}" is too many`);
    requireOneOf(options, "json", "csv");
    const scenario = SCENARIOS.find(({ name }) => name === kind);
    if (scenario === undefined)
      throw new UsageError(
        `${kind === undefined ? "bench needs to know what to measure" : `"${kind}" cannot be measured`}: ${NAMES.slice(0, -1).join(", ")} or ${NAMES.at(-1)}; see: rfaas help bench`,
      );
    const format: Format = options.json ? "json" : options.csv ? "csv" : "table";
    const writer = new RowWriter(format, (row) => scenario.columns(row));
    using progress = Progress.of(options);
    const busy = await busyUsers();
    if (busy.length > 0) log.warn(busyInWords(busy));
    const measured = scenario.run(benchOf(options, progress), own(scenario, options));
    for await (const { row, warning } of measured) {
      progress.clear();
      if (warning) log.warn(warning);
      if (row.noisy)
        log.warn(
          `the machine was noisy: the middle half of the pairs spreads over ${row.ratio_p50_quartiles.map((q) => q.toFixed(2)).join(" to ")} times the floor`,
        );
      writer.write({ ...row, busy });
    }
  },
});

function benchOf(options: Static<typeof Common>, progress: Progress): Bench {
  const { node = inherited(Common, "node") } = options;
  const where = {
    ...readFabric(options),
    ...(node === undefined ? {} : { node }),
    ...(options.insecure ? { insecure: true } : {}),
  };
  return {
    where,
    // A spare host that starts beside a window would be measured with it.
    open: () => progress.during(connecting({ node }), () => openNode({ ...where, prewarm: 0 })),
    tell: (line) => log.info(line),
    at: (window, windows) => progress.still(`measuring: ${window} of ${windows}`),
  };
}

/** The options of all scenarios; a shared option lists each scenario's default, and one that few have names its scenarios. */
function fieldsOf(scenarios: readonly Scenario[]): Record<string, TSchema> {
  const names = new Set(scenarios.flatMap(({ options }) => Object.keys(options.properties)));
  return Object.fromEntries([...names].map((name) => [name, jointField(name, scenarios)]));
}

function jointField(name: string, scenarios: readonly Scenario[]): TSchema {
  const having = scenarios.filter(({ options }) => Object.hasOwn(options.properties, name));
  const fieldOf = ({ options }: Scenario): TSchema => options.properties[name]!;
  const first = fieldOf(having[0]!);
  const whose = having.map((scenario) => scenario.name).join(", ");
  const description =
    having.length === scenarios.length ? first.description : `${whose}: ${first.description}`;
  const defaults = new Set(having.map((scenario) => flagDefault(fieldOf(scenario))));
  const { default: _, ...field } = first;
  if (defaults.size === 1) return worded(first, { description: description! });
  const otherwise = having.map((scenario) => `${scenario.name} ${flagDefault(fieldOf(scenario))}`);
  return worded(field as TSchema, { description: description!, otherwise: otherwise.join(", ") });
}

/** The options that are the scenario's. Throws {@link UsageError} for one of another scenario. */
function own({ options: schema }: Scenario, options: Static<TObject>): Static<TObject> {
  const given = flagsOf(Options).filter(
    (flag) => options[flag.name] !== undefined && !Object.hasOwn(Common.properties, flag.name),
  );
  const foreign = given.find((flag) => !Object.hasOwn(schema.properties, flag.name));
  if (foreign === undefined)
    return Object.fromEntries(given.map((flag) => [flag.name, options[flag.name]]));
  const whose = SCENARIOS.filter(({ options }) => Object.hasOwn(options.properties, foreign.name));
  throw new UsageError(
    `--${foreign.long} is for ${whose.map((scenario) => scenario.name).join(", ")}; leave it out`,
  );
}

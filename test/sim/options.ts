/** The options of `npm run sim`. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { BUGS, type Bug } from "./bugs.ts";

export const USAGE = `npm run sim -- [--seeds 1000] [--from 1] [--nodes 100] [--clients 50] [--jobs N] [--bug NAME]
npm run sim -- --seed 1234 [--trace]`;

export interface Size {
  nodes: number;
  clients: number;
  bug: Bug | undefined;
}

export interface RunOptions extends Size {
  from: number;
  seeds: number;
  jobs: number;
  trace: boolean;
}

/** Throws when an option is unknown or no number. */
export function parseOptions(args: string[]): RunOptions {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      seeds: text,
      from: text,
      seed: text,
      nodes: text,
      clients: text,
      jobs: text,
      bug: text,
      trace: { type: "boolean" },
    },
  });
  const count = (value: string | undefined, fallback: number, name: string): number => {
    const number = Number(value ?? fallback);
    if (Number.isSafeInteger(number) && number >= 1) return number;
    throw new Error(`--${name} must be a whole number from 1 on, and not ${value}`);
  };
  const bug = BUGS.find((name) => name === values.bug);
  if (values.bug !== undefined && !bug)
    throw new Error(`there is no bug ${values.bug}; there are ${BUGS.join(", ")}`);
  const one = values.seed === undefined ? undefined : count(values.seed, 1, "seed");
  return {
    from: one ?? count(values.from, 1, "from"),
    seeds: one === undefined ? count(values.seeds, 1000, "seeds") : 1,
    nodes: count(values.nodes, 100, "nodes"),
    clients: count(values.clients, 50, "clients"),
    jobs: count(values.jobs, availableParallelism(), "jobs"),
    bug,
    trace: values.trace ?? false,
  };
}

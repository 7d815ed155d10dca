/** Tries a model whole with spin, with macros defined: variants of it, or faults. */
import { join } from "node:path";
import { compiler } from "../../ffi/build.ts";
import { run } from "../support/compilers.ts";
import type { Scratch } from "../support/scratch.ts";

export interface Outcome {
  errors: number;
  /** How many states of the model were tried. */
  states: number;
}

/** Whether spin is installed; says how to get it where not. */
export function spinIsThere(): boolean {
  const there = Bun.which("spin") !== null;
  if (!there) console.error("SKIPPED: a model: no spin; apt-get install spin");
  return there;
}

/** Tries all of `model`, a file of this folder, or until something fails in it. A macro is `NAME` or `NAME=VALUE`. */
export function tried(scratch: Scratch, model: string, ...macros: string[]): Outcome {
  const folder = scratch.join([model, ...macros].join("-"));
  run(["mkdir", folder], "/");
  const source = join(import.meta.dir, model);
  run(["spin", "-a", ...macros.map((macro) => `-D${macro}`), source], folder);
  run(
    [compiler()!, "-O1", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048", "-w", "-o", "pan", "pan.c"],
    folder,
  );
  const said = Bun.spawnSync(["./pan", "-m1000000"], { cwd: folder }).stdout.toString();
  const [, errors] = /errors: (\d+)/.exec(said) ?? [];
  const [, states] = /^\s*(\d+) states, stored/m.exec(said) ?? [];
  if (errors === undefined || states === undefined || /search depth too small/.test(said))
    throw new Error(said);
  return { errors: Number(errors), states: Number(states) };
}

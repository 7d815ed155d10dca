/** The options that choose a fabric, for every command that has one: the library's, and what fabrics add for command lines. */
import type { TProperties } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import {
  type FabricOptions,
  fabricFields as libraryFields,
  fabrics,
  isNamed,
} from "../../fabric/registry.ts";
import { flagsOf } from "../../options/flags.ts";

type CommonFields = Pick<typeof libraryFields, "fabric" | "encrypt">;

/** Of their types a command needs to know those of all fabrics only: {@link readFabric} reads the others. */
export const fabricFields: CommonFields = Object.assign(
  { fabric: libraryFields.fabric, encrypt: libraryFields.encrypt },
  ...fabrics.map(({ options, flags }): TProperties => ({
    ...options?.properties,
    ...flags?.fields,
  })),
);

/** The fabric, and the options of each. Throws `UsageError` on options that contradict each other, or a wrong file. */
export function readFabric(options: Pick<FabricOptions, "fabric" | "encrypt">): FabricOptions {
  const { fabric: wanted, encrypt } = options;
  const asked: Record<string, unknown> = wanted === undefined ? {} : { fabric: wanted };
  if (encrypt !== undefined) asked["encrypt"] = encrypt;
  for (const fabric of fabrics) {
    const { name, family = name, needs } = fabric;
    const schema = fabric.options;
    if (!schema) continue;
    const given = options as Readonly<Record<string, unknown>>;
    const own = flagsOf(schema).filter((flag) => given[flag.name] !== undefined);
    const written = Object.fromEntries(own.map((flag) => [flag.name, given[flag.name]]));
    const of = fabric.flags?.apply(written, given) ?? written;
    const by = fabric.askedBy(of);
    if (by !== undefined && wanted !== undefined && !isNamed(fabric, wanted))
      throw new UsageError(
        `--${flagsOf(schema).find((flag) => flag.name === by)!.long} chooses ${needs ?? fabric.title} and --fabric ${wanted} uses none; leave one out`,
      );
    if (Object.keys(of).length > 0) asked[family] = of;
  }
  return asked;
}

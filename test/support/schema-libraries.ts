/** The schema libraries that users have, as npm installs them: not dependencies of ours, so they have a lockfile of their own. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./executable.ts";
import { noRegistry } from "./registry.ts";

export const SCHEMAS = join(ROOT, "test", "schemas");
/** Modules with the same functions, by library. */
export const LIBRARIES = [
  "arktype",
  "effect",
  "effect3",
  "typebox",
  "valibot",
  "zod",
  "zod-mini",
  "zod3",
] as const;

/** Installs what the lockfile says. Returns why that is not possible, or undefined. */
export async function installSchemaLibraries(): Promise<string | undefined> {
  const lockfile = Bun.file(join(SCHEMAS, "package-lock.json"));
  const mark = Bun.file(join(SCHEMAS, "node_modules", ".installed"));
  const wanted = Bun.hash(await lockfile.bytes()).toString();
  if (existsSync(mark.name!) && (await mark.text()) === wanted) return undefined;
  const reason = await noRegistry();
  if (reason !== undefined) return reason;
  const install = Bun.spawnSync(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: SCHEMAS,
    stdout: "ignore",
    stderr: "pipe",
  });
  if (install.exitCode !== 0) throw new Error(install.stderr.toString());
  await mark.write(wanted);
  // The runtime has listed the folder before; the compiler does it anew, for both of them.
  await Bun.build({
    entrypoints: LIBRARIES.map((name) => join(SCHEMAS, "functions", `${name}.ts`)),
    external: ["rfaas/function"],
    target: "bun",
    throw: false,
  });
  return undefined;
}

/** Which user of the machine a function is, and what it could leave behind as one. */
import { dlopen } from "bun:ffi";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Type, defineFunction } from "rfaas/function";

const text = { input: Type.String(), output: Type.String() };
const numbers = Type.Array(Type.Number());

/** The users and groups that its threads are, each once, and the capabilities that they have or could have. */
export const is = defineFunction(
  {
    input: Type.String(),
    output: Type.Object({ ids: numbers, rights: Type.Array(Type.String()) }),
  },
  () => {
    const all = readdirSync("/proc/self/task").flatMap((thread) => {
      const path = `/proc/self/task/${thread}/status`;
      try {
        return [readFileSync(path, "latin1")];
      } catch (error) {
        // It has ended meanwhile.
        if (existsSync(path)) throw error;
        return [];
      }
    });
    const each = (pattern: RegExp): string[] =>
      all.flatMap((status) =>
        [...status.matchAll(pattern)].flatMap(([, words]) => words!.split(/\s+/)),
      );
    return {
      ids: [...new Set(each(/^[UG]id:\s+(.*)$/gm))].map(Number),
      rights: [...new Set(each(/^Cap(?:Prm|Eff|Amb):\s+(.*)$/gm))],
    };
  },
);

/** Who its module and its scratch folder belong to, and who may do what with them. */
export const owns = defineFunction(
  { input: Type.String(), output: Type.Object({ module: numbers, scratch: numbers }) },
  () => {
    writeFileSync(join(process.env["TMPDIR"]!, "own"), "");
    const about = (path: string): number[] => {
      const { uid, mode } = statSync(path);
      return [uid, mode & 0o777];
    };
    return { module: about(import.meta.path), scratch: about(process.env["TMPDIR"]!) };
  },
);

export const runs = defineFunction(text, (program) =>
  execFileSync(program, ["-u"], { encoding: "utf8" }).trim(),
);

export const tasks = defineFunction(text, () =>
  String(/^Max processes\s+(\d+)\s+\1/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1]),
);

/** Makes a segment of System V's shared memory, or finds it. Returns whether it has it then. */
export const segment = defineFunction(text, (makes) => {
  const { symbols } = dlopen("libc.so.6", {
    shmget: { args: ["i32", "u64", "i32"], returns: "i32" },
  });
  const [key, create] = [0x72666161, 0o1600];
  return String(symbols.shmget(key, 4096, makes === "make" ? create : 0) >= 0);
});

/** Writes into folders that all users of a machine can write. Returns those that took it. */
export const litters = defineFunction(text, (name) =>
  ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock", "/var/spool/cron/crontabs"]
    .filter((folder) => {
      try {
        writeFileSync(join(folder, name), "");
        return true;
      } catch {
        return false;
      }
    })
    .join(" "),
);

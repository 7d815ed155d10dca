/** Options that the engines of containers have in common. */
import { readFileSync } from "node:fs";
import type { SandboxDriver } from "../driver.ts";
import type { Bind } from "./inside.ts";

/** The capabilities by which a host becomes another user. */
export const BECOMING = ["SETUID", "SETGID"];

/** `--mount` takes a line of comma-separated values. */
export function mountOption({ from, to, writable }: Bind): string[] {
  const fields = ["type=bind", `source=${from}`, `target=${to}`, ...(writable ? [] : ["readonly"])];
  return ["--mount", fields.map(quoted).join(",")];
}

/** A file system in memory, of so many bytes at most, or of the kernel's choice. */
export function memoryOption(target: string, bytes: number | undefined): string[] {
  const size = bytes === undefined ? "" : `,tmpfs-size=${bytes}`;
  return ["--mount", `type=tmpfs,target=${target},tmpfs-mode=1777,exec${size}`];
}

const quoted = (field: string): string =>
  /[",\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;

/** Exit codes of an engine's own. */
export const NOT_MADE = 125;
const NOT_RUN = 127;

/** What the end of a host means that an engine has not started. `empty` is the image, if any, that stands in where a lease names none. */
export const explainEngine =
  (engine: string, program: string, empty?: string): NonNullable<SandboxDriver["explain"]> =>
  ({ exitCode }, { image }) => {
    if (exitCode === NOT_MADE) {
      const why =
        image !== undefined
          ? `; does the node have the image? Bring it there: ${program} pull ${image}`
          : empty === undefined
            ? ""
            : `; its image ${empty} may be gone, and is made anew for the next host: try again`;
      return `got no container of ${engine}${why}`;
    }
    return exitCode === NOT_RUN && image !== undefined
      ? `does not run in the image ${image}, which must be a Linux of glibc 2.27 or later; name another image`
      : undefined;
  };

/** To which podman lowers its own limit of descriptors, and so what it can give; that of processes it lowers to what the system has. */
const MOST_FILES = 1_048_576;

/** The node's own limits: an engine would set others, which it may not be allowed to. */
export function limitsAsOptions(
  limits = readFileSync("/proc/self/limits", "latin1"),
  mostProcesses = Number(readFileSync("/proc/sys/kernel/pid_max", "latin1")),
): string[] {
  return [
    ["nofile", /^Max open files +(\S+) +(\S+)/m, MOST_FILES] as const,
    ["nproc", /^Max processes +(\S+) +(\S+)/m, Math.min(MOST_FILES, mostProcesses)] as const,
  ].flatMap(([name, line, most]) => {
    const [, soft, hard] = line.exec(limits) ?? [];
    if (soft === undefined || hard === undefined) return [];
    const bound = (text: string) => (text === "unlimited" ? most : Math.min(most, Number(text)));
    return ["--ulimit", `${name}=${bound(soft)}:${bound(hard)}`];
  });
}

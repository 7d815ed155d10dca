/** Refusals of the operating system in words, for messages of commands. `shortage.ts` tells of resources that have run out. */
import { shortage } from "./shortage.ts";

const REASONS: Record<string, string> = {
  EACCES: "permission is denied",
  EPERM: "it is not permitted",
  EISDIR: "it is a folder, and a file is wanted",
  ENOTDIR: "a part of the path is a file, and a folder is wanted",
  ENOENT: "there is no such file or folder",
  EEXIST: "something else is there already",
  ELOOP: "links lead in a circle",
  ENAMETOOLONG: "the name is too long",
  ECONNREFUSED: "no process listens there",
  ENOTFOUND: "no host has that name",
  EAI_AGAIN: "no name server tells where that name is",
  ENOEXEC: "the file is no program for this machine",
  EIO: "the device has failed",
};

/** A clause that names the cause and its code, or the error's own message where there is no more to say. */
export function reasonOf(error: unknown): string {
  const short = shortage(error, "this program");
  if (short !== undefined) return short;
  const { code, message } = error as { code?: unknown; message?: unknown };
  const known =
    typeof code === "string" && Object.hasOwn(REASONS, code) ? REASONS[code] : undefined;
  return known === undefined ? String(message ?? error) : `${known} (${String(code)})`;
}

/** Whether the system refused something, rather than that our code is wrong. */
export function isSystemError(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error)) return false;
  const { code, errno, syscall } = error as { code?: unknown; errno?: unknown; syscall?: unknown };
  return (
    typeof code === "string" &&
    /^E[A-Z0-9]+$/.test(code) &&
    (errno !== undefined || syscall !== undefined)
  );
}

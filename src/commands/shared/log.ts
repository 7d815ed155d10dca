/** The log of a command: on stderr, always, so that stdout carries data only. */
import { type ConsolaInstance, LogLevels, createConsola } from "consola";

const level = (): number => {
  const named = process.env["RFAAS_LOG"];
  return named && Object.hasOwn(LogLevels, named)
    ? LogLevels[named as keyof typeof LogLevels]
    : LogLevels.info;
};

let makeRoom = (): void => {};

/** Calls `listener` before anything is logged: a line that is redrawn has to make room. */
export function beforeLog(listener: () => void): void {
  makeRoom = listener;
}

const stderr: NodeJS.WriteStream = Object.create(process.stderr, {
  write: {
    value(text: string): boolean {
      makeRoom();
      return process.stderr.write(text);
    },
  },
});

export const log: ConsolaInstance = createConsola({ level: level(), stdout: stderr, stderr });

/** What a program can ask of the room that its functions run in, where the node has a sandbox. */
import { Type } from "@sinclair/typebox";
import { size, text, truth, variables } from "../../options/fields.ts";
import { MAX_HEAP_BYTES, MIN_HEAP_BYTES } from "../../protocol/fields.ts";

export const roomFields = {
  /**
   * All else that each part may take, such as `"1GiB"`: the heap of JavaScript, native memory, child processes and scratch files. Default:
   * as much as its memory, 512 MiB at least, and 32 MiB for each worker.
   */
  heap: Type.Optional(
    size(
      MAX_HEAP_BYTES,
      "1 PiB",
      {
        description: "memory for all that is not registered",
        otherwise: "as much as memory, 512MiB at least, and 32MiB a worker",
        flag: true,
      },
      MIN_HEAP_BYTES,
    ),
  ),
  /** Functions may open connections, where the node allows it (`rfaas serve --allow-network`). Default false. */
  network: Type.Optional(
    truth({
      description: "functions may open connections, where the node allows it",
      default: false,
      flag: true,
    }),
  ),
  /** Functions may start programs, where the node allows it (`rfaas serve --allow-processes`). Default false. */
  processes: Type.Optional(
    truth({
      description: "functions may start programs, where the node allows it",
      default: false,
      flag: true,
    }),
  ),
  /** Variables that functions find in their environment, such as `{ LEVEL: "3" }`. */
  env: Type.Optional(
    variables({ description: "a variable of the environment of functions", flag: true }),
  ),
  /**
   * The file system that functions see, where the node's sandbox has images, such as `"debian:12"`: one that the node has, for it fetches
   * none. Default: the node's own system, to be read.
   */
  image: Type.Optional(
    text("the name of an image", {
      description: "the file system of functions, where the node's sandbox has images",
      otherwise: "the node's own system",
      placeholder: "image",
      flag: true,
    }),
  ),
};

/** Nothing to run: types alone, which do not compile where a browser's module cannot take the place of Node's. */
type Same<Node, Browser extends Node> = Browser;

export type SamePlatform = [
  Same<
    typeof import('../../src/platform/node/graph-file.js'),
    typeof import('../../src/platform/browser/graph-file.js')
  >,
  Same<
    typeof import('../../src/platform/node/images.js'),
    typeof import('../../src/platform/browser/images.js')
  >,
  Same<
    typeof import('../../src/platform/node/machine.js'),
    typeof import('../../src/platform/browser/machine.js')
  >,
  Same<
    typeof import('../../src/platform/node/model-source.js'),
    typeof import('../../src/platform/browser/model-source.js')
  >,
  Same<typeof import('../../src/platform/node/ort.js'), typeof import('../../src/platform/browser/ort.js')>,
  Same<
    typeof import('../../src/platform/node/template-time.js'),
    typeof import('../../src/platform/browser/template-time.js')
  >,
  Same<
    typeof import('../../src/platform/node/weights.js'),
    typeof import('../../src/platform/browser/weights.js')
  >,
];

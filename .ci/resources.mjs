// Whether custom resources are what their definitions say: node .ci/resources.mjs MODULES FILE..., where the files are JSON lists of
// resources, and MODULES is where npm has put @kubernetes-models. Kinds that Kubernetes itself has are left to kubernetes-validate.

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const KINDS = {
  'argoproj.io/v1alpha1': 'argo-cd/argoproj.io/v1alpha1',
  'keda.sh/v1alpha1': 'keda/keda.sh/v1alpha1',
  'monitoring.coreos.com/v1': 'prometheus-operator/monitoring.coreos.com/v1',
};
const [modules, ...files] = process.argv.slice(2);
let seen = 0;
let wrong = 0;
for (const file of files) {
  for (const resource of JSON.parse(readFileSync(file, 'utf8'))) {
    const group = KINDS[resource.apiVersion];
    if (!group) continue;
    const name = `${resource.kind}/${resource.metadata.name}`;
    seen += 1;
    try {
      const kinds = await import(pathToFileURL(`${modules}/node_modules/@kubernetes-models/${group}/index.js`));
      new kinds[resource.kind](resource).validate();
    } catch (error) {
      console.error(`${file}: ${name}: ${error.message}`);
      wrong += 1;
    }
  }
}
if (seen === 0) console.error('no custom resource was looked at');
process.exit(wrong > 0 || seen === 0 ? 1 : 0);

"""Say whether a data set lies as the configs of its task expect it.

Nothing is converted: official downloads are used as they are; LIP's is arranged by links (clasp
data arrange).
"""

import argparse
from pathlib import Path

from .options import TASKS

# What the folder of each task should hold, and under which terms.
LAYOUTS = {
    'pose': """\
Nothing is converted: the official download is used as it is. DIR (data/coco) should hold
  annotations/person_keypoints_train2017.json, ..._val2017.json   annotations_trainval2017.zip
  train2017/, val2017/                                            train2017.zip, val2017.zip
  person_detection_results/COCO_val2017_detections_AP_H_56_person.json
The first three are at https://cocodataset.org/#download; mmpose's page on preparing COCO
links the last. Annotations are CC BY 4.0; the images keep the terms of Flickr.
""",
    'parsing': """\
Fetch TrainVal_images and TrainVal_parsing_annotations (single-person LIP) from
http://sysu-hcp.net/lip/, unpack both in one folder, and link them:
  clasp data arrange parsing downloads --out data/lip
The data root then holds train_images/, val_images/, train_id.txt, val_id.txt and
TrainVal_parsing_annotations/{train,val}_segmentations/ (index PNGs, 0 to 19, 255 ignored).
LIP is for non-commercial research and education; its images keep their owners' rights.
""",
    'detection': """\
Nothing is converted: the official download is used as it is. DIR (data/citypersons) should hold
  leftImg8bit/{train,val}/CITY/CITY_*_leftImg8bit.png            leftImg8bit_trainvaltest.zip
  gtBboxCityPersons/{train,val}/CITY/CITY_*_gtBboxCityPersons.json   gtBbox_cityPersons_trainval.zip
with 2975 and 500 images, each with its annotation. Both archives are at
https://www.cityscapes-dataset.com/downloads/, for registered users; unpack both in DIR.
Licence: that of Cityscapes, for research, teaching and other non-commercial use; the images must
not be passed on. A val_gt.json in COCO form works too: set ann_file to it.
""",
    'attribute': """\
Nothing is converted: the files are used as they are. DIR should hold
  annotation.mat, data/                 PA-100K (data/pa100k): data/ is release_data/release_data/
                                        of the download, renamed
  dataset_zs_run0.pkl, images/          PETA (data/peta), the split of RethinkPAR's repository
  dataset_zs_run0.pkl, RAP_dataset/     RAP (data/rap2), the same
Nothing that a pickle asks for is run: only plain data and arrays are read out of it.
PA-100K is CC BY-NC 4.0; PETA and RAP are for research, RAP on written request.
""",
    'reid': """\
Nothing is converted: the official download is used as it is unpacked. DIR should hold
  bounding_box_train/, query/, bounding_box_test/                      Market-1501-v15.09.15.zip
or
  train/, test/ (or mask_train_v2/, mask_test_v2/), list_{train,val,query,gallery}.txt   MSMT17
Market-1501 is for research only; MSMT17 is given to those who sign its release agreement.
""",
    'person_search': """\
Nothing is converted: the official downloads are used as they are. DIR should hold
  cuhk_sysu  Image/SSM/*.jpg, annotation/{Images,pool}.mat,
             annotation/test/train_test/{Train,TestG50,TestG100,...,TestG4000}.mat
  prw        frames/*.jpg, annotations/*.jpg.mat, frame_{train,test}.mat, query_info.txt
Both are given out by their authors for research on request; they show real people who did not ask
to be in them, and must not be passed on. docs/data/person_search.md says more.
""",
}
PERSON_SEARCH = ('cuhk_sysu', 'prw')
EPILOG = '\n'.join(f'{task}: {text}' for task, text in LAYOUTS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('task', choices=TASKS, help='whose configs read the data')
    parser.add_argument('folder', type=Path, help='the data root (DIR below)')
    parser.add_argument('--data', choices=PERSON_SEARCH, default=PERSON_SEARCH[0],
                        help='person_search: which of the two (%(default)s)')
    parser.add_argument('--workers', type=int, help='parsing: processes (one per core)')


def run(args: argparse.Namespace) -> int:
    return check(args.task, args.folder, args.data, args.workers)


def check(task: str, folder: Path, data: str = PERSON_SEARCH[0], workers: int | None = None) -> int:
    """Print the findings on a data root; the exit code.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'no folder {folder}')
    from clasp_mm.datasets.checks.attribute import check_attributes
    from clasp_mm.datasets.checks.citypersons import check_citypersons
    from clasp_mm.datasets.checks.coco import check_coco
    from clasp_mm.datasets.checks.lip import check_lip
    from clasp_mm.datasets.checks.person_search import check_person_search
    from clasp_mm.datasets.checks.reid import check_reid
    if task == 'parsing':
        findings = check_lip(folder, workers)
    elif task == 'person_search':
        findings = check_person_search(folder, data)
    else:
        findings = dict(pose=check_coco, detection=check_citypersons, attribute=check_attributes,
                        reid=check_reid)[task](folder)
    print(findings)
    return int(bool(findings.problems))

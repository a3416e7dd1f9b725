"""Sends a dataset to, and fetches it from, a Hugging Face hub, or another with its interface."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.layout import CODEBASE_VERSION, INFO
from vla_ros.data.tools.staging import refuse_existing
from vla_ros.data.transfer.manifest import NAME, Manifest, describe, hash_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Beginning of a URL that names a dataset on a hub.
PREFIX = "hf://datasets/"
#: What a hub, or a person on its page, keeps beside the dataset.
OF_THE_HUB = (".gitattributes", "README.md")
_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDataset:
    """A dataset on a hub.

    The token is huggingface_hub's own: `HF_TOKEN`, or what `hf auth login` keeps.

    Attributes:
        name: `OWNER/NAME`.
        revision: Branch, tag or commit.
        endpoint: Address of the hub; "" for `HF_ENDPOINT`, or huggingface.co.
    """

    name: str
    revision: str = "main"
    endpoint: str = ""

    @classmethod
    def from_url(cls, url: str, endpoint: str = "") -> HubDataset:
        """Return the dataset of hf://datasets/OWNER/NAME, or with @REVISION behind it.

        Raises:
            UserError: if the URL is none.
        """
        name, _, revision = url.removeprefix(PREFIX).partition("@")
        if not url.startswith(PREFIX) or not _NAME.match(name.rstrip("/")):
            raise UserError(f"{url}: expected {PREFIX}OWNER/NAME, or …/NAME@REVISION")
        return cls(name=name.rstrip("/"), revision=revision or "main", endpoint=endpoint)

    def push(self, folder: Path, *, private: bool = True) -> str:
        """Send the files of a folder as one commit; return where they are.

        Files that the hub has already are not sent again, and those that the folder has no more
        are deleted there. A LeRobotDataset gets the tag of its version, by which LeRobot looks
        for it; an older one is moved.

        Raises:
            UserError: if the hub is not there, or refuses.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        manifest = describe(folder)
        api = HfApi(endpoint=self.endpoint or None, library_name="vla_ros")
        try:
            api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True)
            there = api.list_repo_files(self.name, repo_type="dataset", revision=self.revision)
            gone = {*there} - {*manifest.files, *OF_THE_HUB, NAME}
            done = api.create_commit(
                self.name,
                [
                    CommitOperationAdd(NAME, manifest.to_text().encode()),
                    *(CommitOperationAdd(path, folder / path) for path in manifest.files),
                    *(CommitOperationDelete(path) for path in sorted(gone)),
                ],
                repo_type="dataset",
                revision=self.revision,
                commit_message="vla_ros data push",
            )
            if (folder / INFO).is_file():
                self._tag(api, done.oid)
        except (HfHubHTTPError, OSError) as error:
            raise UserError(self._failed(error)) from error
        return str(done.commit_url)

    def pull(self, folder: Path) -> int:
        """Fetch the dataset into a new folder, verify it, and return the number of its files.

        What is fetched stays in `.NAME.partial` until all is: another run goes on there. Files
        are verified by the list that `push` sends; a dataset of others has none, and its files
        are verified as huggingface_hub does it.

        Raises:
            UserError: if the folder is there, the hub is not, or a file is not what was sent.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        refuse_existing(folder)
        partial = folder.with_name(f".{folder.name}.partial")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        try:
            snapshot_download(
                self.name,
                repo_type="dataset",
                revision=self.revision,
                local_dir=partial,
                endpoint=self.endpoint or None,
                library_name="vla_ros",
            )
        except (HfHubHTTPError, OSError) as error:
            raise UserError(self._failed(error)) from error
        files = self._verify(partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # huggingface_hub's own notes
        if folder.is_dir():  # and empty
            folder.rmdir()
        partial.rename(folder)
        return files

    def _tag(self, api: HfApi, commit: str) -> None:
        from huggingface_hub.errors import RevisionNotFoundError

        with contextlib.suppress(RevisionNotFoundError):
            api.delete_tag(self.name, tag=CODEBASE_VERSION, repo_type="dataset")
        api.create_tag(self.name, tag=CODEBASE_VERSION, revision=commit, repo_type="dataset")

    def _verify(self, folder: Path) -> int:
        if not (folder / NAME).is_file():
            return len(describe(folder).files)
        manifest = Manifest.from_text((folder / NAME).read_text("utf-8"), f"{self.name}/{NAME}")
        for path, entry in manifest.files.items():
            file = folder / path
            if not file.is_file() or hash_file(file) != entry.sha256:
                file.unlink(missing_ok=True)
                raise UserError(
                    f"{self.name}: {path} is not what was pushed, or was changed since. Pull it "
                    "again; if it stays so, push the dataset again"
                )
        (folder / NAME).unlink()
        return len(manifest.files)

    def _failed(self, error: Exception) -> str:
        where = self.endpoint or os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        words = str(error).strip().splitlines() or [type(error).__name__]
        return f"{self.name} on {where}: {words[0]}"
